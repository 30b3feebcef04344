"""A real MariaDB server for tests: own folder, free port, removed afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Durability costs time and proves nothing here, except in the tests that say so.
_SETTINGS = {
    "innodb_flush_log_at_trx_commit": "2",  # outlasts the process, not the machine
    "innodb_flush_method": "nosync",
    "innodb_doublewrite": "0",
    "innodb_buffer_pool_size": "256M",
    "innodb_log_file_size": "256M",
    "innodb_print_all_deadlocks": "1",
    "innodb_status_output_locks": "0",
    "max_connections": "200",
    "skip_log_bin": "1",
    "performance_schema": "0",
    # Nothing may depend on the server's own time zone, character set, collation or SQL mode.
    "default_time_zone": "+03:00",
    "character_set_server": "latin1",
    "collation_server": "latin1_swedish_ci",
    "sql_mode": "NO_BACKSLASH_ESCAPES",
}


class MariadbServer:
    """One server process; `stop` and `start` may be called in turn, the data stay."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        # The server refuses to run as root.
        self._user = "mysql" if os.geteuid() == 0 else None
        self._settings = {
            **_SETTINGS,
            **(settings or {}),
            "datadir": str(folder / "data"),
            "socket": str(folder / "socket"),
            "pid_file": str(folder / "pid"),
            "tmpdir": str(folder),
            "bind_address": "127.0.0.1",
            "port": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def create(self) -> None:
        """Create the data folder, with an empty database called test."""
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        conf = self.folder / "my.cnf"
        conf.write_text("[mariadbd]\n" + "".join(f"{name} = {value}\n" for name, value in self._settings.items()))
        conf.chmod(0o644)
        done = subprocess.run(
            [
                _program("mariadb-install-db"),
                f"--defaults-file={conf}",
                "--auth-root-authentication-method=normal",
            ],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"mariadb-install-db ended with {done.returncode}: {done.stdout + done.stderr!r}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("mariadbd"), f"--defaults-file={self.folder / 'my.cnf'}"],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd does not answer: {self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode ``immediate`` is a crash."""
        if self._process is not None:
            if mode == "immediate":
                self._process.kill()
            else:
                self._process.terminate()
            self._process.wait(60)
            self._process = None

    def url(self, database: str = "test", *, user: str = "root") -> str:
        """Return the URL of a database."""
        return f"mariadb://{user}@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        """Whether a connection gets the server's greeting."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return bool(connection.recv(1))
        except OSError:
            return False


@contextlib.contextmanager
def mariadb_server(settings: dict[str, str] | None = None) -> Iterator[MariadbServer]:
    """Run a server for the duration of a block."""
    folder = Path(tempfile.mkdtemp(prefix="hammerwork-mariadb-"))
    server = MariadbServer(folder, settings)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"no MariaDB server program {name}: install the package mariadb-server (make packages)")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
