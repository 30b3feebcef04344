"""A real PostgreSQL server for tests: started on a free port, in a folder of its own, and removed afterwards."""

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
    """One server process; `stop` and `start` may be called in turn, the data stay."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self._bin = _server_programs()
        self._settings = {**_SETTINGS, **(settings or {}), "port": str(self.port)}
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None

    def create(self) -> None:
        """Create the data folder."""
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"
        )
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode, "-D", str(self.folder / "data"))

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *args: str) -> None:
        # The server inherits the output; a pipe would be held open by it.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self._bin / program), *args],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=120,
                check=False,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}: {said[-2000:]}")


@contextlib.contextmanager
def postgres_server(settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a server for the duration of a block."""
    folder = Path(tempfile.mkdtemp(prefix="hammerwork-postgres-"))
    server = PostgresServer(folder, settings)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have stopped it
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server_programs() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if folders:
        return folders[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError("no PostgreSQL server programs: install the package postgresql (make packages)")
    return Path(found).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_stopped(pid: int, seconds: float = 10) -> None:
    """Return once no process has this pid; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} still runs after {seconds} s"
        time.sleep(0.02)
