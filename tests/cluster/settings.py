"""Where a test cluster keeps its state, and the addresses and ports it uses."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE_FOLDER = Path(__file__).resolve().parent

NODE_NAME = "hammerwork-node"
CLUSTER_DOMAIN = "cluster.local"
CONTAINERD_NAMESPACE = "k8s.io"

BRIDGE = "hammerwork0"
NETWORK_NAME = "hammerwork"
POD_CIDR = "10.197.0.0/24"
GATEWAY = "10.197.0.1"
SERVICE_CIDR = "10.196.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.196.0.1"

LOOPBACK = "127.0.0.1"


class Kind(enum.StrEnum):
    """Which cluster the commands work on; the environment variable CLUSTER."""

    LOCAL = "local"
    KIND = "kind"
    CURRENT = "current"


@dataclass(frozen=True)
class Cluster:
    """One cluster that the harness can run. Two differ in state folder, address and ports, so both can be up."""

    title: str
    state: Path
    has_node: bool
    address: str
    first_port: int

    @property
    def apiserver_port(self) -> int:
        """HTTPS port of kube-apiserver, on `address`."""
        return self.first_port + 443

    @property
    def etcd_port(self) -> int:
        """Client port of etcd, on the loopback interface like every port below."""
        return self.first_port + 379

    @property
    def etcd_peer_port(self) -> int:
        """Peer port of etcd; nobody calls it, etcd insists on one."""
        return self.first_port + 380

    @property
    def controller_manager_port(self) -> int:
        """HTTPS health port of kube-controller-manager."""
        return self.first_port + 257

    @property
    def scheduler_port(self) -> int:
        """HTTPS health port of kube-scheduler."""
        return self.first_port + 259

    @property
    def kubelet_port(self) -> int:
        """HTTPS port of the kubelet, on the bridge: kube-apiserver calls it for logs, exec and port-forward."""
        return self.first_port + 250

    @property
    def kubelet_health_port(self) -> int:
        """HTTP health port of the kubelet."""
        return self.first_port + 248

    @property
    def proxy_health_port(self) -> int:
        """HTTP health port of kube-proxy."""
        return self.first_port + 256

    @property
    def proxy_metrics_port(self) -> int:
        """HTTP metrics port of kube-proxy."""
        return self.first_port + 249

    @property
    def server(self) -> str:
        """Address of the API server as clients name it."""
        return f"https://{self.address}:{self.apiserver_port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig: what tests take as KUBECONFIG."""
        return self.state / "kubeconfig"

    @property
    def marker(self) -> Path:
        """A file that says that the state folder is a cluster's, so that `down` may delete it."""
        return self.state / "hammerwork-cluster"

    @property
    def certificates(self) -> Path:
        """Folder of keys, certificates and tokens."""
        return self.state / "certificates"

    @property
    def logs(self) -> Path:
        """Folder with one log file per process."""
        return self.state / "logs"

    @property
    def containerd_socket(self) -> Path:
        """Socket of the cluster's own containerd."""
        return self.state / "containerd.sock"


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds everything of the whole cluster."""
    return Path(environment.get("HAMMERWORK_CLUSTER_DIR") or "/var/lib/hammerwork-cluster").absolute()


def full_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster with a node: its API server listens on the bridge, so that Pods reach it too."""
    folder = state_folder(environment)
    # kind's kubeconfig must not take the place of that of a cluster of ours.
    state = folder.with_name(f"{folder.name}-kind") if chosen_kind(environment) is Kind.KIND else folder
    return Cluster("cluster", state, has_node=True, address=GATEWAY, first_port=16000)


def control_plane(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster without a node, for tests that need the API and no Pods."""
    folder = state_folder(environment)
    state = folder.with_name(f"{folder.name}-controlplane")
    first_port = _port(environment, "HAMMERWORK_CONTROLPLANE_PORT", default=17000)
    return Cluster("control plane", state, has_node=False, address=LOOPBACK, first_port=first_port)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where built programs and images are kept from one run to the next, outside the source tree."""
    return Path(environment.get("HAMMERWORK_CACHE") or Path.home() / ".cache" / "hammerwork").absolute()


def _port(environment: Mapping[str, str], name: str, *, default: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal() or not 1024 <= int(value) <= 65000:
        raise ClusterError(f"{name}={value}: must be a port from 1024 to 65000; the 500 above it are used too")
    return int(value)


def chosen_kind(environment: Mapping[str, str] = os.environ) -> Kind:
    """The kind of cluster that CLUSTER asks for; our own where it is not set.

    Raises:
        ClusterError: CLUSTER has a value that is none of them.
    """
    value = environment.get("CLUSTER") or Kind.LOCAL
    try:
        return Kind(value)
    except ValueError:
        raise ClusterError(f"CLUSTER={value}: must be one of {', '.join(Kind)}") from None
