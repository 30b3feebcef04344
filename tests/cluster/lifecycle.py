"""Bringing a cluster up, telling its state, and taking it down without a trace."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.cluster import binaries, containers, controlplane, credentials, images, machine, network, node
from tests.cluster.api import Api
from tests.cluster.commands import require_programs, require_root
from tests.cluster.errors import AlreadyRunningError, ClusterError
from tests.cluster.locking import exclusive, lock_path
from tests.cluster.processes import ProcessTable
from tests.cluster.settings import Cluster, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_SECONDS = 300
# A socket's path has at most 107 bytes, and the kubelet makes sockets deep in the state folder.
_LONGEST_STATE_PATH = 60
_CONTROL_PLANE_PROCESSES = ("etcd", "kube-apiserver", "kube-controller-manager")
_NODE_PROCESSES = ("containerd", "kube-scheduler", "kubelet", "kube-proxy", "coredns")
_NODE_PROGRAMS = ("containerd", "ctr", "runc", "ip", "iptables-save", "ip6tables-save", "conntrack", "umount")


def processes_of(cluster: Cluster) -> ProcessTable:
    """The cluster's recorded processes."""
    return ProcessTable(cluster.state / "processes", cluster.logs)


def up(cluster: Cluster) -> None:
    """Start a cluster, clearing away what a crashed one left; return when it can be used.

    Raises:
        AlreadyRunningError: a healthy one runs in the state folder.
        ClusterError: something did not start; what did start is left for a look at it, `down` ends it.
    """
    _check_machine(cluster)
    programs = binaries.build()
    with _locked(cluster, "up"):
        _check_state_folder(cluster)
        if cluster.state.exists() and any(cluster.state.iterdir()):
            seen = problem(cluster)
            if seen is None:
                raise AlreadyRunningError(f"{cluster.state}: a healthy {cluster.title} runs there already")
            print(f"{cluster.state}: the {cluster.title} there is broken ({seen}); clearing it away", flush=True)
            _clear(cluster)
        started = time.monotonic()
        _prepare(cluster)
        processes = processes_of(cluster)
        if cluster.has_node:
            network.create(cluster)
        controlplane.start_api(cluster, processes, programs)
        _tell("the API server is ready", started)
        controlplane.start_controllers(cluster, processes, programs)
        if cluster.has_node:
            containers.start(cluster, processes, pause_image=images.PAUSE_IMAGE)
            images.load_pause_image(cluster, programs)
            node.start(cluster, processes, programs)
            node.wait(cluster, processes)
            _tell("the node is ready", started)
        controlplane.wait_for_controllers(cluster, processes)
        _tell(f"the {cluster.title} is up", started)


def down(cluster: Cluster) -> None:
    """End and remove everything of a cluster. Where nothing runs, there is nothing to do."""
    with _locked(cluster, "down"):
        if not cluster.state.exists():
            print(f"{cluster.state}: no {cluster.title} there", flush=True)
            return
        if cluster.has_node:
            require_root("taking down the cluster")
        _check_state_folder(cluster)
        started = time.monotonic()
        _clear(cluster)
        _tell(f"the {cluster.title} is down", started)


def problem(cluster: Cluster) -> str | None:
    """None if the cluster is healthy, else the first thing found wrong."""
    records = processes_of(cluster).records()
    expected = [*_CONTROL_PLANE_PROCESSES, *(_NODE_PROCESSES if cluster.has_node else ())]
    alive = {record.name for record in records if record.is_alive()}
    for name in expected:
        if name not in alive:
            return f"{name} does not run"
    if not cluster.kubeconfig.is_file():
        return f"{cluster.kubeconfig} is missing"
    api = Api.from_kubeconfig(cluster.kubeconfig)
    seen = api.readiness()
    if seen is not None:
        return f"kube-apiserver is not ready: {seen}"
    return node.problem(api) if cluster.has_node else None


def status(cluster: Cluster) -> bool:
    """Print what runs and whether it is healthy; return whether it is."""
    if not cluster.state.exists():
        print(f"{cluster.title}: not up ({cluster.state} does not exist)")
        return False
    for record in processes_of(cluster).records():
        print(f"{record.name:<26}{record.pid:>8}  {'running' if record.is_alive() else 'ended'}")
    seen = problem(cluster)
    print(f"{'kubeconfig':<26}{cluster.kubeconfig}")
    print(f"{cluster.title}: {'healthy' if seen is None else seen}")
    return seen is None


def _tell(what: str, started: float) -> None:
    print(f"{what} after {time.monotonic() - started:.1f} s", flush=True)


@contextlib.contextmanager
def _locked(cluster: Cluster, command: str) -> Iterator[None]:
    with exclusive(
        lock_path(cache_folder(), str(cluster.state)), what=f"{command} of {cluster.state}", seconds=_LOCK_SECONDS
    ):
        yield


def _check_machine(cluster: Cluster) -> None:
    require_programs(["openssl"])
    if cluster.has_node:
        require_root("the cluster with a node")
        require_programs(_NODE_PROGRAMS)
        missing = [name for name in ("bridge", "host-local", "portmap") if not (network.CNI_PROGRAMS / name).is_file()]
        if missing:
            raise ClusterError(f"{network.CNI_PROGRAMS / missing[0]}: not found; run scripts/install-packages.sh")


def _check_state_folder(cluster: Cluster) -> None:
    """What `down` deletes must be what `up` made."""
    if len(str(cluster.state)) > _LONGEST_STATE_PATH:
        raise ClusterError(
            f"HAMMERWORK_CLUSTER_DIR: {cluster.state} has {len(str(cluster.state))} characters; "
            f"sockets in it need a path of {_LONGEST_STATE_PATH} at most"
        )
    if cluster.state.exists() and any(cluster.state.iterdir()) and not cluster.marker.is_file():
        raise ClusterError(f"{cluster.state}: has files of something else; empty it or set HAMMERWORK_CLUSTER_DIR")


def _prepare(cluster: Cluster) -> None:
    if cluster.has_node:
        network.check_free()
    try:
        cluster.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"{cluster.state}: {error.strerror}; be root or set HAMMERWORK_CLUSTER_DIR") from error
    cluster.marker.touch()
    if cluster.has_node:
        machine.remember(cluster)
    credentials.create(cluster)


def _clear(cluster: Cluster) -> None:
    processes = processes_of(cluster)
    if cluster.has_node:
        # The kubelet goes first, else it would start the containers again; containerd goes last, to remove them.
        processes.stop(keep=frozenset({"containerd"}))
        containers.remove_all(cluster, processes)
    processes.stop()
    if cluster.has_node:
        containers.sweep(cluster)
        machine.unmount(cluster.state)
        network.remove(cluster)
        machine.remove_cgroups()
        machine.restore(cluster)
    machine.remove_state(cluster)


def environment(cluster: Cluster) -> dict[str, str | Path]:
    """The variables that clients of the cluster need."""
    return {"KUBECONFIG": cluster.kubeconfig, "PATH": binaries.binaries_folder()}
