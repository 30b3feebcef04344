"""Running other programs to their end."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def run(
    command: Sequence[str | Path],
    *,
    seconds: float = 60,
    check: bool = True,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output as text.

    Raises:
        ClusterError: it ended with another status than zero (unless `check` is false) or took too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{shlex.join(words)}: not done after {seconds:g} s") from error
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]}: not found; run scripts/install-packages.sh") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterError(f"{shlex.join(words)}: ended with status {done.returncode}: {said}")
    return done


def require_programs(names: Iterable[str]) -> None:
    """Complain once about all programs that are not on PATH.

    Raises:
        ClusterError: some are missing.
    """
    missing = sorted(name for name in names if shutil.which(name) is None)
    if missing:
        raise ClusterError(f"{', '.join(missing)}: not found on PATH; run scripts/install-packages.sh as root")


def require_root(purpose: str) -> None:
    """Complain unless this process is root.

    Raises:
        ClusterError: it is not.
    """
    if os.geteuid() != 0:
        raise ClusterError(f"{purpose} needs root (now user id {os.geteuid()}); run it with sudo")
