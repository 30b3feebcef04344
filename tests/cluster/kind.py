"""CLUSTER=kind: the same commands on a cluster that kind makes in a container engine."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.cluster.binaries import build_kind
from tests.cluster.errors import AlreadyRunningError, ClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cluster.settings import Cluster

NAME = "hammerwork"


def up(cluster: Cluster) -> None:
    """Create the kind cluster and write its kubeconfig into the state folder."""
    program = build_kind()
    if NAME in _clusters(program):
        raise AlreadyRunningError(f"kind cluster {NAME}: is there already")
    cluster.state.mkdir(parents=True, exist_ok=True)
    _kind(program, "create", "cluster", "--name", NAME, "--kubeconfig", str(cluster.kubeconfig), "--wait", "180s")


def down(cluster: Cluster) -> None:
    """Delete the kind cluster."""
    _kind(build_kind(), "delete", "cluster", "--name", NAME, "--kubeconfig", str(cluster.kubeconfig))
    cluster.kubeconfig.unlink(missing_ok=True)
    if cluster.state.is_dir() and not any(cluster.state.iterdir()):
        cluster.state.rmdir()


def status() -> bool:
    """Print whether the kind cluster is there; return it."""
    there = NAME in _clusters(build_kind())
    print(f"kind cluster {NAME}: {'there' if there else 'not there'}")
    return there


def load(archives: Sequence[Path]) -> None:
    """Load archives into the kind cluster's node."""
    program = build_kind()
    for archive in archives:
        _kind(program, "load", "image-archive", str(archive), "--name", NAME)


def _clusters(program: Path) -> list[str]:
    return _kind(program, "get", "clusters", capture=True).split()


def _kind(program: Path, *arguments: str, capture: bool = False) -> str:
    # kind tells its progress on standard error, which is left to the terminal.
    done = subprocess.run(
        [str(program), *arguments], stdout=subprocess.PIPE if capture else None, text=True, timeout=900, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"kind {arguments[0]}: ended with status {done.returncode}; is a container engine running?")
    return done.stdout or ""
