"""A real MariaDB server for tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from tests.harness.servers import UnavailableServerError
from tests.harness.servers.daemon import DaemonServer, give, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {
    # Durability costs time and proves nothing here, except in the tests that say so.
    "innodb_flush_log_at_trx_commit": "2",  # outlasts the process, not the machine
    "innodb_flush_method": "nosync",
    "innodb_doublewrite": "0",
    "innodb_buffer_pool_size": "256M",
    "innodb_print_all_deadlocks": "1",
    "max_connections": "200",
    "skip_log_bin": "1",
    "performance_schema": "0",
    # Nothing may depend on the server's own time zone, character set, collation or SQL mode.
    "default_time_zone": "+03:00",
    "character_set_server": "latin1",
    "collation_server": "latin1_swedish_ci",
    "sql_mode": "NO_BACKSLASH_ESCAPES",
}
"""Of MariaDB and MySQL."""


class MariadbServer(DaemonServer):
    """A MariaDB of Debian's package; its data folder has an empty database called test."""

    program = "mariadbd"
    user = "mysql"
    scheme = "mariadb"
    family = "mysql"
    administrator = "root"
    first_database = "test"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self._settings = {
            **SETTINGS,
            "innodb_log_file_size": "256M",
            "innodb_status_output_locks": "0",
            "bind_address": "127.0.0.1",
            **(settings or {}),
            "datadir": str(folder / "data"),
            "socket": str(folder / "socket"),
            "pid_file": str(folder / "pid"),
            "tmpdir": str(folder),
            "port": str(self.port),
        }

    def create(self) -> None:
        give(self.folder, self.user)
        conf = self.folder / "my.cnf"
        conf.write_text("[mariadbd]\n" + "".join(f"{name} = {value}\n" for name, value in self._settings.items()))
        run(
            [
                _program("mariadb-install-db"),
                f"--defaults-file={conf}",
                "--auth-root-authentication-method=normal",
            ],
            self.user,
        )

    def command(self) -> list[str]:
        return [_program("mariadbd"), f"--defaults-file={self.folder / 'my.cnf'}"]


@contextlib.contextmanager
def mariadb_server(settings: dict[str, str] | None = None) -> Iterator[MariadbServer]:
    """Run a server for the duration of a block.

    Raises:
        UnavailableServerError: It is not installed.
    """
    with running("mariadb", lambda folder: MariadbServer(folder, settings), MariadbServer.create) as server:
        yield server


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UnavailableServerError(f"MariaDB: no program {name}; install the package mariadb-server (make packages)")
    return found
