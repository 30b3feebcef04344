"""A real PostgreSQL server for tests: Debian's, or the one that `hammerwork run` embeds."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hammerwork.embedded import PACKAGE
from tests.harness.servers import UnavailableServerError
from tests.harness.servers.daemon import free_port, give, reachable, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "5s",
    "log_line_prefix": "%m %a ",
    "deadlock_timeout": "200ms",
}


class PostgresServer:
    """One server process; `stop` and `start` may be called in turn, the data stay.

    `installation` is the folder that has the server's bin, lib and share; default: that of the system.
    """

    family = "postgresql"

    def __init__(
        self, folder: Path, settings: dict[str, str] | None = None, *, installation: Path | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._bin = (installation or _system_installation()) / "bin"
        self._settings = {**_SETTINGS, **(settings or {}), "port": str(self.port)}

    def create(self) -> None:
        """Create the data folder."""
        give(self.folder, "postgres")
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"
        )
        self._configure()

    def _configure(self) -> None:
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())

    def follow(self, port: int) -> None:
        """Create the data folder as a copy of the server at `port` that follows it: a replica, until `promote`."""
        give(self.folder, "postgres")
        self._run(
            *("pg_basebackup", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-D", str(self.folder / "data")),
            *("-X", "stream", "-c", "fast", "-R", "--no-sync"),
        )
        self._configure()

    def promote(self) -> None:
        """Let a replica take writes, with what it has received so far."""
        self._run("pg_ctl", "promote", "-w", "-t", "60", "-D", str(self.folder / "data"))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode, "-D", str(self.folder / "data"))

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def url(self, database: str = "postgres", *, user: str | None = None) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user or 'postgres'}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *args: str) -> None:
        run([self._bin / program, *args], "postgres")


@contextlib.contextmanager
def postgres_server(settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run the system's newest PostgreSQL for the duration of a block."""
    with running("postgres", lambda folder: PostgresServer(folder, settings), PostgresServer.create) as server:
        yield server


@contextlib.contextmanager
def postgres18_server(settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run PostgreSQL 18 for the duration of a block, from the Python package that `hammerwork run` takes it from.

    Raises:
        UnavailableServerError: The package is not installed, or has another version in it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    installation = Path(spec.origin).parent / "pginstall18" if spec and spec.origin else None
    if installation is None or not (installation / "bin" / "pg_ctl").exists():
        raise UnavailableServerError(f"PostgreSQL 18: not in {installation or f'the package {PACKAGE}: not installed'}")

    def make(folder: Path) -> PostgresServer:
        # Its programs look for their libraries and files beside themselves.
        return PostgresServer(folder, settings, installation=reachable(installation, ("bin", "lib", "share"), folder))

    with running("postgres18", make, PostgresServer.create) as server:
        yield server


@contextlib.contextmanager
def postgres_replica(port: int) -> Iterator[PostgresServer]:
    """Run an asynchronous replica of the system's PostgreSQL at `port` for the duration of a block."""
    with running("replica", PostgresServer, lambda server: server.follow(port)) as server:
        yield server


def _system_installation() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if folders:
        return folders[-1].parent.parent
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError("no PostgreSQL server programs: install the package postgresql (make packages)")
    return Path(found).parent.parent
