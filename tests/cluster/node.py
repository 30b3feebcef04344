"""The node: kubelet, kube-proxy and CoreDNS."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.cluster import credentials
from tests.cluster.api import Api
from tests.cluster.settings import (
    CLUSTER_DOMAIN,
    GATEWAY,
    KUBERNETES_SERVICE_ADDRESS,
    LOOPBACK,
    NODE_NAME,
    POD_CIDR,
    Cluster,
)
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cluster.processes import ProcessTable

_READY_SECONDS = 90.0
_DNS_PORT = 53
_MOST_PODS = 100


def start(cluster: Cluster, processes: ProcessTable, binaries: Path) -> None:
    """Start the node's processes; they are not waited for."""
    processes.start("kubelet", _kubelet(cluster, binaries))
    processes.start("kube-proxy", _proxy(cluster, binaries))
    _allow_dns(Api.from_kubeconfig(cluster.kubeconfig))
    processes.start("coredns", _dns(cluster, binaries))


def wait(cluster: Cluster, processes: ProcessTable) -> None:
    """Return when Pods can run on the node, and reach the API server's Service by name and address."""
    api = Api.from_kubeconfig(cluster.kubeconfig)
    service = Api.from_kubeconfig(cluster.kubeconfig, server=f"https://{KUBERNETES_SERVICE_ADDRESS}")
    probes = {
        f"node {NODE_NAME} to be Ready": ("kubelet", lambda: node_readiness(api)),
        f"the Service address {KUBERNETES_SERVICE_ADDRESS}": ("kube-proxy", service.readiness),
        f"CoreDNS at {GATEWAY}": ("coredns", dns_readiness),
    }
    for what, (process, probe) in probes.items():
        wait_until(what, processes.checked(process, probe), seconds=_READY_SECONDS)


def problem(api: Api) -> str | None:
    """None if Pods can run and find Services, else what stands against it."""
    if (seen := node_readiness(api)) is not None:
        return f"node {NODE_NAME} is not Ready: {seen}"
    if (seen := dns_readiness()) is not None:
        return f"CoreDNS: {seen}"
    return None


def node_readiness(api: Api) -> str | None:
    """None if the node is Ready, else why not."""
    try:
        conditions = api.get(f"/api/v1/nodes/{NODE_NAME}")["status"].get("conditions", [])
    except OSError as error:
        return str(error)
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None:
        return "the kubelet has not reported yet"
    return None if ready["status"] == "True" else str(ready.get("message"))


def dns_readiness() -> str | None:
    """None if CoreDNS knows the address of the Service `kubernetes`, else what came instead."""
    name = f"kubernetes.default.svc.{CLUSTER_DOMAIN}"
    try:
        addresses = resolve(name, server=GATEWAY)
    except OSError as error:
        return f"no answer about {name}: {error}"
    return None if KUBERNETES_SERVICE_ADDRESS in addresses else f"{name} has the addresses {addresses}"


def resolve(name: str, *, server: str, seconds: float = 1.0) -> Sequence[str]:
    """Ask one name server for the IPv4 addresses of a name; an unknown name has none.

    Raises:
        OSError: no answer in time.
    """
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(seconds)
        connection.connect((server, _DNS_PORT))
        connection.send(struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + question)
        answer = connection.recv(4096)
    return parse_addresses(answer)


def parse_addresses(answer: bytes) -> list[str]:
    """The IPv4 addresses in the answer section of a DNS message with one question."""
    count = struct.unpack(">H", answer[6:8])[0]
    position = _skip_name(answer, 12) + 4
    found = []
    for _ in range(count):
        position = _skip_name(answer, position)
        kind, _, _, length = struct.unpack(">HHIH", answer[position : position + 10])
        position += 10
        if kind == 1:
            found.append(socket.inet_ntoa(answer[position : position + length]))
        position += length
    return found


def _skip_name(message: bytes, position: int) -> int:
    while message[position]:
        if message[position] >= 0xC0:  # a pointer to an earlier name ends this one
            return position + 2
        position += message[position] + 1
    return position + 1


def _kubelet(cluster: Cluster, binaries: Path) -> list[str | Path]:
    configuration = cluster.state / "kubelet.yaml"
    configuration.write_text(yaml.safe_dump(_kubelet_configuration(cluster), sort_keys=False))
    return [
        binaries / "kubelet",
        f"--config={configuration}",
        f"--kubeconfig={credentials.kubeconfig(cluster, credentials.KUBELET)}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={GATEWAY}",
        f"--root-dir={cluster.state / 'kubelet'}",
        f"--cert-dir={cluster.state / 'kubelet' / 'pki'}",
    ]


def _kubelet_configuration(cluster: Cluster) -> dict[str, Any]:
    # Only the machine's name servers: its search domains would send Pods' questions to nowhere.
    resolver = cluster.state / "resolv.conf"
    lines = Path("/etc/resolv.conf").read_text().splitlines() if Path("/etc/resolv.conf").exists() else []
    resolver.write_text("".join(f"{line}\n" for line in lines if line.startswith("nameserver")))
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": GATEWAY,
        "port": cluster.kubelet_port,
        "healthzBindAddress": LOOPBACK,
        "healthzPort": cluster.kubelet_health_port,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(credentials.certificate(cluster, "ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [GATEWAY],
        "resolvConf": str(resolver),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "maxPods": _MOST_PODS,
        "podLogsDir": str(cluster.logs / "pods"),
        "volumePluginDir": str(cluster.state / "volume-plugins"),
        # Images come from archives and cannot be had again, so none is ever collected.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": False,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _proxy(cluster: Cluster, binaries: Path) -> list[str | Path]:
    return [
        binaries / "kube-proxy",
        f"--kubeconfig={credentials.kubeconfig(cluster, credentials.PROXY)}",
        "--proxy-mode=iptables",
        f"--hostname-override={NODE_NAME}",
        f"--cluster-cidr={POD_CIDR}",
        f"--healthz-bind-address={LOOPBACK}:{cluster.proxy_health_port}",
        f"--metrics-bind-address={LOOPBACK}:{cluster.proxy_metrics_port}",
        "--conntrack-max-per-core=0",
        "--iptables-localhost-nodeports=false",
    ]


def _dns(cluster: Cluster, binaries: Path) -> list[str | Path]:
    configuration = cluster.state / "Corefile"
    kubeconfig = credentials.kubeconfig(cluster, credentials.DNS)
    lines = [
        f".:{_DNS_PORT} {{",
        f"    bind {GATEWAY}",
        "    errors",
        "    cache 5 {",
        # Tests create a Service and look it up at once, so "no such name" must not last.
        "        denial 1000 1 1",
        "    }",
        f"    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{",
        f"        kubeconfig {kubeconfig}",
        "        ttl 5",
        "    }",
        "}",
    ]
    configuration.write_text("".join(f"{line}\n" for line in lines))
    return [binaries / "coredns", "-conf", configuration]


def _allow_dns(api: Api) -> None:
    """Let CoreDNS' user read what it answers from."""
    group = "rbac.authorization.k8s.io"
    verbs = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": verbs},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
    ]
    metadata = {"name": credentials.DNS.user}
    api.create(
        f"/apis/{group}/v1/clusterroles",
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
    )
    api.create(
        f"/apis/{group}/v1/clusterrolebindings",
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": credentials.DNS.user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": credentials.DNS.user}],
        },
    )
