"""What servers have in common: an unprivileged account, a free port, a process that is ended and started again."""

from __future__ import annotations

import abc
import contextlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

START_SECONDS = 60.0
STOP_SECONDS = 60.0


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def identity(user: str) -> dict[str, Any]:
    """Return what makes a child process run as `user` where we are root: database servers refuse to be."""
    options: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL}
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return options


def give(folder: Path, user: str) -> None:
    """Let `user` own a folder and all that is in it, where we are root."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def reachable(installation: Path, parts: Iterable[str], folder: Path) -> Path:
    """Return the installation, or a copy of these parts of it in `folder` where others may not enter, as below /root.

    Parts are patterns of files and folders, relative to the installation.
    """
    if os.geteuid() != 0 or all(path.stat().st_mode & stat.S_IXOTH for path in (installation, *installation.parents)):
        return installation
    copy = folder / "installation"
    for source in (path for part in parts for path in installation.glob(part)):
        target = copy / source.relative_to(installation)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    return copy


class DaemonServer(abc.ABC):
    """A server of one process, with a log; `stop` and `start` may be called in turn, the data stay.

    `program` is the name of what runs, `user` the account it runs as. Subclasses say how it is made, and the command.
    """

    program: str
    user: str
    scheme: str
    """Of its URLs."""
    family: str
    administrator: str
    first_database: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def create(self) -> None:
        """Make what the server needs in its folder."""

    @abc.abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the command that runs it in the foreground."""

    def answers(self) -> bool:
        """Whether it takes connections."""
        return greets(self.port)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, **identity(self.user)
            )

        def missing() -> str | None:
            if self.answers():
                return None
            if process.poll() is not None:
                raise RuntimeError(f"{self.program} has ended: {self.log()[-2000:]}")
            return self.log()[-2000:]

        wait_until(f"an answer of {self.program}", missing, seconds=START_SECONDS, interval=0.02)

    def stop(self, mode: str = "fast") -> None:
        """End the server; mode ``immediate`` is a crash. Nothing happens if it does not run."""
        if self._process is not None:
            if mode == "immediate":
                self._process.kill()
            else:
                self._process.terminate()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def url(self, database: str | None = None, *, user: str | None = None) -> str:
        """Return the URL of a database; default: the one that is there from the start."""
        path = self.first_database if database is None else database
        return f"{self.scheme}://{user or self.administrator}@127.0.0.1:{self.port}/{path}"

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "log").read_text(errors="replace")


class Startable(Protocol):
    """What `running` needs of a server."""

    def start(self) -> None: ...

    def stop(self, mode: str) -> None: ...


S = TypeVar("S", bound=Startable)


@contextlib.contextmanager
def running(name: str, make: Callable[[Path], S], create: Callable[[S], None]) -> Iterator[S]:
    """Run a server for the duration of a block, in a folder of its own that has `name` in its name."""
    with temporary_folder(name) as folder:
        server = make(folder)
        create(server)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have stopped it
                server.stop("immediate")


def greets(port: int) -> bool:
    """Whether a connection gets a server's greeting."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether somebody takes connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Make a folder for a server, which others can enter: the server is not root."""
    folder = Path(tempfile.mkdtemp(prefix=f"hammerwork-{name}-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str | Path], user: str, *, seconds: float = 120) -> None:
    """Run a program of a server to its end.

    Raises:
        RuntimeError: It failed; has its last words.
    """
    # The server inherits the output; a pipe would be held open by it.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=seconds, check=False, **identity(user))
        output.seek(0)
        said = output.read().decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said[-2000:]}")
