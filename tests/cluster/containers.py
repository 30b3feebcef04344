"""The cluster's own containerd, and the containers that it runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.commands import run
from tests.cluster.machine import processes_in_pod_cgroups
from tests.cluster.network import CNI_PROGRAMS, cni_folder
from tests.cluster.processes import ProcessTable, start_ticks
from tests.cluster.settings import CONTAINERD_NAMESPACE, LOOPBACK, Cluster
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    import subprocess

_SWEEP_SECONDS = 10.0


def start(cluster: Cluster, processes: ProcessTable, *, pause_image: str) -> None:
    """Start containerd; return when it answers."""
    configuration = cluster.state / "containerd.toml"
    configuration.write_text(to_toml(_configuration(cluster, pause_image)))
    processes.start("containerd", ["containerd", "--config", configuration])

    def probe() -> str | None:
        processes.check("containerd")
        done = ctr(cluster, "version", check=False)
        return None if done.returncode == 0 else done.stderr.strip()

    wait_until(f"containerd at {cluster.containerd_socket}", probe, seconds=30)


def ctr(
    cluster: Cluster, *arguments: str | Path, seconds: float = 60, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run containerd's client on the namespace that the kubelet uses."""
    command = ["ctr", "--address", cluster.containerd_socket, "--namespace", CONTAINERD_NAMESPACE, *arguments]
    return run(command, seconds=seconds, check=check)


def to_toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write nested dicts as TOML. Strings, numbers, booleans and lists of them look in TOML as they do in JSON."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in plain.items()]
    if path and lines:
        lines.insert(0, f"[{'.'.join(json.dumps(part) for part in path)}]\n")
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines.append(to_toml(value, (*path, name)))
    return "".join(lines)


def _configuration(cluster: Cluster, pause_image: str) -> dict[str, Any]:
    runc = {"BinaryName": "runc", "Root": str(cluster.state / "runc"), "SystemdCgroup": False}
    cri = {
        "sandbox_image": pause_image,
        "stream_server_address": LOOPBACK,
        "stream_server_port": "0",
        # In a container that lacks CAP_SYS_RESOURCE, runc dies of a score lower than its own.
        "restrict_oom_score_adj": True,
        "disable_apparmor": True,
        # Network namespaces are mounted in the state folder, so it is known whose they are.
        "netns_mounts_under_state_dir": True,
        "cni": {"bin_dir": str(CNI_PROGRAMS), "conf_dir": str(cni_folder(cluster)), "max_conf_num": 1},
        "containerd": {
            "snapshotter": "overlayfs",
            "default_runtime_name": "runc",
            "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": runc}},
        },
    }
    unused = ["aufs", "btrfs", "devmapper", "zfs"]
    return {
        "version": 2,
        "root": str(cluster.state / "containerd" / "root"),
        "state": str(cluster.state / "containerd" / "state"),
        "disabled_plugins": [
            *(f"io.containerd.snapshotter.v1.{name}" for name in unused),
            "io.containerd.internal.v1.opt",
        ],
        "grpc": {"address": str(cluster.containerd_socket)},
        "plugins": {"io.containerd.grpc.v1.cri": cri},
    }


def remove_all(cluster: Cluster, processes: ProcessTable) -> None:
    """End and remove every container through containerd, if containerd is there to do it."""
    if not any(record.name == "containerd" and record.is_alive() for record in processes.records()):
        return
    for kind in ("tasks", "containers"):
        names = ctr(cluster, kind, "list", "--quiet", check=False).stdout.split()
        if names:
            force = ["--force"] if kind == "tasks" else []
            # Whatever this leaves, `sweep` ends by pid.
            ctr(cluster, kind, "delete", *force, *names, check=False)


def sweep(cluster: Cluster) -> None:
    """End the containers and shims that no containerd looks after any more, and remove the shims' sockets."""
    pods = cluster.state / "kubelet" / "pods"
    pod_uids = {folder.name for folder in pods.iterdir()} if pods.is_dir() else set()
    deadline = time.monotonic() + _SWEEP_SECONDS
    while (left := _orphans(cluster, pod_uids)) and time.monotonic() < deadline:
        for pid, ticks in left.items():
            _kill(pid, ticks)
        time.sleep(0.05)
    for file in (cluster.state / "containerd" / "state").glob("io.containerd.runtime.v2.task/*/*/address"):
        socket = Path(file.read_text().strip().removeprefix("unix://"))
        socket.unlink(missing_ok=True)


def _orphans(cluster: Cluster, pod_uids: set[str]) -> dict[int, int]:
    """Pid and start time of the shims that name our containerd, of their children, and of the Pods' processes."""
    marker = b"\0-address\0" + os.fsencode(cluster.containerd_socket) + b"\0"
    shims = {pid for pid in _pids() if marker in _command_line(pid)}
    children = {pid for pid in _pids() if _parent(pid) in shims}
    found = {pid: start_ticks(pid) for pid in [*children, *processes_in_pod_cgroups(pod_uids), *shims]}
    return {pid: ticks for pid, ticks in found.items() if ticks is not None}


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text[text.rindex(")") + 1 :].split()[1])


def _kill(pid: int, ticks: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if start_ticks(pid) == ticks:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
