"""One command at a time: a lock that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def lock_path(folder: Path, subject: str) -> Path:
    """The lock file in `folder` for a subject, any string such as a path."""
    return folder / "locks" / f"{hashlib.sha256(subject.encode()).hexdigest()[:16]}.lock"


@contextlib.contextmanager
def exclusive(path: Path, *, what: str, seconds: float) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block.

    Args:
        path: the lock file; created where needed and left in place, since removing it would let two holders in.
        what: what the holder does, for the message to those who wait.
        seconds: how long to wait for another holder.

    Raises:
        ClusterError: another process still held the lock at the deadline.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, what, seconds)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            if time.monotonic() >= deadline:
                raise ClusterError(f"{path}: process {holder} has been at it for over {seconds:g} s: {what}") from None
            if not told:
                print(f"waiting for process {holder}: {what}", flush=True)
                told = True
            time.sleep(0.2)
        else:
            return
