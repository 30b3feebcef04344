"""A real MariaDB server for tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from tests.harness.servers.daemon import Daemon, free_port, give, greets, run, temporary_folder

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
_USER = "mysql"


class MariadbServer:
    """One server process; `stop` and `start` may be called in turn, the data stay."""

    family = "mysql"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = {
            **SETTINGS,
            "innodb_log_file_size": "256M",
            "innodb_status_output_locks": "0",
            **(settings or {}),
            "datadir": str(folder / "data"),
            "socket": str(folder / "socket"),
            "pid_file": str(folder / "pid"),
            "tmpdir": str(folder),
            "bind_address": "127.0.0.1",
            "port": str(self.port),
        }
        self._daemon = Daemon("mariadbd", folder / "log", _USER)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._daemon.pid

    def create(self) -> None:
        """Create the data folder, with an empty database called test."""
        give(self.folder, _USER)
        conf = self.folder / "my.cnf"
        conf.write_text("[mariadbd]\n" + "".join(f"{name} = {value}\n" for name, value in self._settings.items()))
        run(
            [
                _program("mariadb-install-db"),
                f"--defaults-file={conf}",
                "--auth-root-authentication-method=normal",
            ],
            _USER,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._daemon.start(
            [_program("mariadbd"), f"--defaults-file={self.folder / 'my.cnf'}"], lambda: greets(self.port)
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode ``immediate`` is a crash."""
        self._daemon.stop(mode)

    def url(self, database: str = "test", *, user: str | None = None) -> str:
        """Return the URL of a database."""
        return f"mariadb://{user or 'root'}@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """Return what the server has logged."""
        return self._daemon.log()


@contextlib.contextmanager
def mariadb_server(settings: dict[str, str] | None = None) -> Iterator[MariadbServer]:
    """Run a server for the duration of a block."""
    with temporary_folder("mariadb") as folder:
        server = MariadbServer(folder, settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"no MariaDB server program {name}: install the package mariadb-server (make packages)")
    return found
