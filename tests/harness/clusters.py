"""The clusters that tests run on: one that runs already is left alone, one that is started here ends with the tests."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.settings import Kind, chosen_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_ALREADY_RUNNING = 3
_UP_SECONDS = 1800
"""The cluster's programs may have to be built first."""
_DOWN_SECONDS = 120


@contextlib.contextmanager
def full_cluster() -> Iterator[None]:
    """Have a cluster with a node for the length of a block: ours, a kind cluster, or the one in KUBECONFIG."""
    with _running("", ours=chosen_kind() is not Kind.CURRENT):
        yield


@contextlib.contextmanager
def control_plane() -> Iterator[None]:
    """Have an API server without a node for the length of a block."""
    with _running("controlplane-", ours=True):
        yield


@contextlib.contextmanager
def _running(prefix: str, *, ours: bool) -> Iterator[None]:
    # Inherited streams: a build that takes minutes should be seen to go on.
    code = subprocess.run(_command(f"{prefix}up"), cwd=_ROOT, check=False, timeout=_UP_SECONDS).returncode
    if code not in {0, _ALREADY_RUNNING}:
        raise RuntimeError(f"python -m tests.cluster {prefix}up: ended with {code}; its output tells why")
    try:
        yield
    finally:
        if ours and code == 0:
            subprocess.run(_command(f"{prefix}down"), cwd=_ROOT, check=True, timeout=_DOWN_SECONDS)


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "tests.cluster", name]
