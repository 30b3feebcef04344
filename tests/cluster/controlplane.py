"""etcd, kube-apiserver, kube-controller-manager, and for a cluster with a node kube-scheduler."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from tests.cluster import credentials
from tests.cluster.api import Api
from tests.cluster.settings import LOOPBACK, POD_CIDR, SERVICE_CIDR, Cluster
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.processes import ProcessTable

_READY_SECONDS = 90.0
# The default of 20 requests per second alone makes the controllers take five seconds to start.
_UNTHROTTLED = ("--kube-api-qps=500", "--kube-api-burst=1000")


def start_api(cluster: Cluster, processes: ProcessTable, binaries: Path) -> None:
    """Start etcd and kube-apiserver; return when both are ready."""
    start_etcd(cluster, processes, binaries)
    _start_apiserver(cluster, processes, binaries)
    api = Api.from_kubeconfig(cluster.kubeconfig)

    def probe() -> str | None:
        processes.check("etcd")
        processes.check("kube-apiserver")
        return api.readiness()

    wait_until(f"kube-apiserver at {cluster.server}", probe, seconds=_READY_SECONDS)


def start_controllers(cluster: Cluster, processes: ProcessTable, binaries: Path) -> None:
    """Start kube-controller-manager, and kube-scheduler where Pods can run. They are not waited for."""
    processes.start("kube-controller-manager", _controller_manager(cluster, binaries))
    if cluster.has_node:
        processes.start("kube-scheduler", _scheduler(cluster, binaries))


def wait_for_controllers(cluster: Cluster, processes: ProcessTable) -> None:
    """Return when the controllers have given the default namespace what Pods and clients expect to find."""
    api = Api.from_kubeconfig(cluster.kubeconfig)

    def probe() -> str | None:
        processes.check("kube-controller-manager")
        if cluster.has_node:
            processes.check("kube-scheduler")
        namespace = "/api/v1/namespaces/default"
        account = api.exists(f"{namespace}/serviceaccounts/default")
        return account or api.exists(f"{namespace}/configmaps/kube-root-ca.crt")

    wait_until("the default namespace's ServiceAccount and CA bundle", probe, seconds=_READY_SECONDS)


def start_etcd(cluster: Cluster, processes: ProcessTable, binaries: Path) -> None:
    """Start etcd; return when it is ready."""
    client = f"http://{LOOPBACK}:{cluster.etcd_port}"
    peer = f"http://{LOOPBACK}:{cluster.etcd_peer_port}"
    command: list[str | Path] = [
        binaries / "etcd",
        "--name=default",
        f"--data-dir={cluster.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # A test cluster does not outlive its machine, so there is nothing to lose to a power cut.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    processes.start("etcd", command)

    def probe() -> str | None:
        processes.check("etcd")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{client}/readyz", timeout=2):
                return None
        except OSError as error:
            return str(error)

    wait_until(f"etcd at {client}", probe, seconds=30)


def _start_apiserver(cluster: Cluster, processes: ProcessTable, binaries: Path) -> None:
    service_account_key = credentials.key(cluster, "service-account")
    command: list[str | Path] = [
        binaries / "kube-apiserver",
        f"--etcd-servers=http://{LOOPBACK}:{cluster.etcd_port}",
        f"--bind-address={cluster.address}",
        f"--advertise-address={cluster.address}",
        f"--secure-port={cluster.apiserver_port}",
        f"--cert-dir={cluster.certificates}",
        f"--tls-cert-file={credentials.certificate(cluster, 'apiserver')}",
        f"--tls-private-key-file={credentials.key(cluster, 'apiserver')}",
        f"--client-ca-file={credentials.certificate(cluster, 'ca')}",
        # Without it the other components keep asking for it; no aggregated API server presents such a certificate.
        f"--requestheader-client-ca-file={credentials.certificate(cluster, 'ca')}",
        "--requestheader-allowed-names=front-proxy",
        f"--token-auth-file={credentials.tokens_file(cluster)}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={service_account_key}",
        f"--service-account-signing-key-file={service_account_key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={credentials.certificate(cluster, 'kubelet-client')}",
        f"--kubelet-client-key={credentials.key(cluster, 'kubelet-client')}",
    ]
    if not cluster.has_node:
        # No Pod asks for the Service `kubernetes`, and a loopback address may not be an endpoint.
        command.append("--endpoint-reconciler-type=none")
    processes.start("kube-apiserver", command)


def _kubeconfig_flags(path: Path) -> list[str]:
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [f"--{name}={path}" for name in names]


def _controller_manager(cluster: Cluster, binaries: Path) -> list[str | Path]:
    command: list[str | Path] = [
        binaries / "kube-controller-manager",
        *_kubeconfig_flags(credentials.kubeconfig(cluster, credentials.CONTROLLER_MANAGER)),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={cluster.controller_manager_port}",
        f"--cert-dir={cluster.state / 'kube-controller-manager'}",
        "--leader-elect=false",
        *_UNTHROTTLED,
        "--use-service-account-credentials",
        f"--root-ca-file={credentials.certificate(cluster, 'ca')}",
        f"--service-account-private-key-file={credentials.key(cluster, 'service-account')}",
        f"--flex-volume-plugin-dir={cluster.state / 'volume-plugins'}",
        "--horizontal-pod-autoscaler-sync-period=2s",  # 15 s by default
    ]
    if cluster.has_node:
        prefix_length = POD_CIDR.partition("/")[2]
        command += ["--allocate-node-cidrs", f"--cluster-cidr={POD_CIDR}", f"--node-cidr-mask-size={prefix_length}"]
    return command


def _scheduler(cluster: Cluster, binaries: Path) -> list[str | Path]:
    return [
        binaries / "kube-scheduler",
        *_kubeconfig_flags(credentials.kubeconfig(cluster, credentials.SCHEDULER)),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={cluster.scheduler_port}",
        f"--cert-dir={cluster.state / 'kube-scheduler'}",
        "--leader-elect=false",
        *_UNTHROTTLED,
    ]
