"""What the cluster changes on the machine outside its state folder, and how that is put back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.settings import NETWORK_NAME

if TYPE_CHECKING:
    from tests.cluster.settings import Cluster

# Set by the harness (the first two), by the kubelet (vm.*, kernel.*) and by kube-proxy (the rest).
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
)
# Folders that kubelet, containerd and CNI use at fixed places; innermost last.
_FOLDERS = (
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/log/containers",
    "/run/containerd",
    "/run/containerd/s",
)
_CNI_RESULTS = Path("/var/lib/cni/results")
_CONTAINER_LOGS = Path("/var/log/containers")
_KUBELET_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
_CGROUPS = Path("/sys/fs/cgroup")


def remember(cluster: Cluster) -> None:
    """Note the machine's present settings in the state folder, before anything changes them."""
    found = {name: Path("/proc/sys", name).read_text().strip() for name in _SYSCTLS if Path("/proc/sys", name).exists()}
    absent = [folder for folder in _FOLDERS if not Path(folder).exists()]
    (cluster.state / "machine.json").write_text(json.dumps({"sysctls": found, "absent_folders": absent}, indent=2))


def set_sysctl(name: str, value: str) -> None:
    """Set a kernel setting named like net/ipv4/ip_forward, if it has another value.

    Raises:
        ClusterError: the kernel does not have it or does not let us.
    """
    path = Path("/proc/sys", name)
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise ClusterError(f"{path}: cannot be set to {value}: {error}") from error


def restore(cluster: Cluster) -> None:
    """Put back the noted settings, and remove what the cluster's programs leave at fixed places."""
    for ours in _CNI_RESULTS.glob(f"{NETWORK_NAME}-*"):
        # The network's name tells which sandboxes are ours; each has a second file, for its loopback link.
        sandbox = ours.name.removeprefix(f"{NETWORK_NAME}-").rpartition("-")[0]
        for result in _CNI_RESULTS.glob(f"*-{sandbox}-*"):
            result.unlink(missing_ok=True)
    for link in _CONTAINER_LOGS.glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(cluster.state):
            link.unlink(missing_ok=True)
    note = cluster.state / "machine.json"
    if not note.is_file():
        return
    before = json.loads(note.read_text())
    for name, value in before["sysctls"].items():
        set_sysctl(name, value)
    if "/var/lib/kubelet" in before["absent_folders"]:
        _KUBELET_SOCKET.unlink(missing_ok=True)
    for folder in reversed(before["absent_folders"]):
        # Another program may have put something there in the meantime; then it stays.
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def mounts_under(folder: Path) -> list[Path]:
    """Mount points in a folder, the latest mounted first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Spaces and the like are written as three octal digits.
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point.is_relative_to(folder):
            found.append(point)
    return found[::-1]


def unmount(folder: Path) -> None:
    """Unmount everything in a folder.

    Raises:
        ClusterError: something is still mounted at the end.
    """
    for point in mounts_under(folder):
        run(["umount", "--lazy", point], check=False)
    left = mounts_under(folder)
    if left:
        raise ClusterError(f"{folder}: {left[0]} is still mounted; unmount it, then run down again")


def remove_state(cluster: Cluster) -> None:
    """Delete the state folder, which must not have a mount in it any more."""
    unmount(cluster.state)
    if not cluster.state.exists():
        return
    for entry in cluster.state.iterdir():
        if entry == cluster.marker:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    # The marker goes last: should this be interrupted, the rest is still known to be ours.
    shutil.rmtree(cluster.state)


def remove_cgroups() -> None:
    """Remove the empty cgroups of Pods; the kernel refuses to remove one that is in use."""
    for _ in range(20):
        left = [root for root in _pod_cgroups() if not _remove_tree_of_cgroups(root)]
        if not left:
            return
        time.sleep(0.05)


def _pod_cgroups() -> list[Path]:
    # One hierarchy in version 2 of cgroups, one per controller in version 1.
    return [*_CGROUPS.glob("kubepods"), *_CGROUPS.glob("*/kubepods")]


def _remove_tree_of_cgroups(root: Path) -> bool:
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not root.exists()


def processes_in_pod_cgroups(pod_uids: set[str]) -> set[int]:
    """The processes in the cgroups of the given Pods."""
    found: set[int] = set()
    for root in _pod_cgroups():
        for uid in pod_uids:
            for file in root.glob(f"**/pod{uid}/**/cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in file.read_text().split())
    return found
