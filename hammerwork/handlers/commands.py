"""Processes for commands: how they are found and started, what they find set, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hammerwork.errors import HandlerError
from hammerwork.timing import COMMAND_END_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork.batch import Job

_OURS = "HAMMERWORK_"
_POLL_SECONDS = 0.01
_STARTERS = ThreadPoolExecutor(4, "commands")
"""More threads than this start no more processes."""
_INDEX_NAMES = ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "BATCH_TASK_INDEX", "SLURM_ARRAY_TASK_ID")
"""What array jobs call the index elsewhere: Kubernetes, AWS Batch, Google Cloud Batch, Slurm."""


def base_environment() -> dict[str, str]:
    """Return the environment of this process without the worker's own settings: the database's password is in them."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def facts_of(job: Job) -> dict[str, str]:
    """Return the variables that tell a command of its job."""
    index = str(job.index)
    return {
        "HAMMERWORK_JOB_ID": job.id,
        "HAMMERWORK_JOB_INDEX": index,
        "HAMMERWORK_BATCH": str(job.batch_id),
        "HAMMERWORK_QUEUE": job.queue,
        "HAMMERWORK_ATTEMPT": str(job.attempt),
        "HAMMERWORK_MAX_ATTEMPTS": str(job.max_attempts),
        **dict.fromkeys(_INDEX_NAMES, index),
    }


def find_program(name: str, folder: Path | None) -> str:
    """Return the path of a command.

    Args:
        name: As the first of a command's words: a path, from `folder` on if it is not absolute, or a name in PATH.
        folder: The working directory of the command; None is that of this process.

    Raises:
        HandlerError: It is not there, or cannot be executed.
    """
    if "/" not in name:
        if found := shutil.which(name):
            return found
        raise HandlerError(f"command {name!r}: no such program in PATH ({os.environ.get('PATH', os.defpath)})")
    path = Path.cwd() / (folder or "") / name
    if not path.is_file():
        raise HandlerError(f"command {name!r}: no file {path}")
    if not os.access(path, os.X_OK):
        raise HandlerError(f"command {name!r}: {path} is not executable")
    return str(path)


def start(arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that leads a process group of its own; `options` are those of `subprocess.Popen`.

    It returns when the program has been loaded.
    """
    return subprocess.Popen(arguments, process_group=0, **options)


async def start_aside(arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in a thread: programs are loaded side by side, and the event loop turns meanwhile.

    Cancelled, it waits until the process has started, since that uses what the options name, and ends it again.
    """
    starting = asyncio.get_running_loop().run_in_executor(_STARTERS, partial(start, arguments, **options))
    cut_short = False
    while not starting.done():
        try:
            await asyncio.wait({starting})
        except asyncio.CancelledError:
            cut_short = True
    if not cut_short:
        return starting.result()
    if starting.exception() is None:
        process = starting.result()
        try:
            await end(process)
        finally:
            reap(process)
    raise asyncio.CancelledError


async def ended(process: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended. It is not reaped: until it is, nobody else gets its number."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or one from before 5.3
        while process.poll() is None:
            await asyncio.sleep(_POLL_SECONDS)
        return
    end: asyncio.Future[None] = loop.create_future()
    loop.add_reader(handle, lambda: None if end.done() else end.set_result(None))
    try:
        await end
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all that is left of the process's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def end(process: subprocess.Popen[bytes], *, patience: float = COMMAND_END_SECONDS) -> None:
    """End a process and its group: SIGTERM, and SIGKILL if it has not ended after so many seconds."""
    send(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(patience):
            await ended(process)
    except TimeoutError:
        pass
    finally:
        send(process, signal.SIGKILL)


def reap(process: subprocess.Popen[bytes]) -> int:
    """Take note of the end of a process that has ended or was killed, and of all that it left behind in its group.

    Returns:
        The exit code, or the negative number of the signal that ended it.
    """
    send(process, signal.SIGKILL)
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:  # it hangs in the kernel; subprocess reaps it when it can
        return -signal.SIGKILL


def describe(code: int) -> str:
    """Return how a process ended, e.g. ``exit code 1`` or ``ended by signal 9 (SIGKILL)``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"ended by signal {-code}"


def told(errors: bytes) -> str:
    """Return what stands on standard error, as messages say it."""
    return errors.decode(errors="replace").strip() or "nothing on standard error"
