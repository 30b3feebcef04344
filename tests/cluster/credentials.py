"""Keys, certificates, tokens and kubeconfigs of one cluster, made anew each time it starts."""

from __future__ import annotations

import csv
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from tests.cluster.commands import run
from tests.cluster.settings import CLUSTER_DOMAIN, KUBERNETES_SERVICE_ADDRESS, LOOPBACK, NODE_NAME, Cluster

if TYPE_CHECKING:
    from pathlib import Path

_DAYS = "365"


@dataclass(frozen=True)
class Account:
    """A user that the API server knows by a token."""

    name: str
    user: str
    groups: tuple[str, ...] = ()


ADMIN = Account("admin", "admin", ("system:masters",))
CONTROLLER_MANAGER = Account("kube-controller-manager", "system:kube-controller-manager")
SCHEDULER = Account("kube-scheduler", "system:kube-scheduler")
KUBELET = Account("kubelet", f"system:node:{NODE_NAME}", ("system:nodes",))
PROXY = Account("kube-proxy", "system:kube-proxy")
DNS = Account("coredns", "system:coredns")
_ACCOUNTS = (ADMIN, CONTROLLER_MANAGER, SCHEDULER, KUBELET, PROXY, DNS)


def certificate(cluster: Cluster, name: str) -> Path:
    """Path of the certificate of that name."""
    return cluster.certificates / f"{name}.crt"


def key(cluster: Cluster, name: str) -> Path:
    """Path of the private key of that name."""
    return cluster.certificates / f"{name}.key"


def tokens_file(cluster: Cluster) -> Path:
    """Path of the token file that kube-apiserver reads."""
    return cluster.certificates / "tokens.csv"


def kubeconfig(cluster: Cluster, account: Account) -> Path:
    """Path of an account's kubeconfig."""
    return cluster.kubeconfig if account is ADMIN else cluster.certificates / f"{account.name}.kubeconfig"


def create(cluster: Cluster) -> None:
    """Write all of a cluster's credentials into its state folder."""
    cluster.certificates.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create_authority(cluster)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = [*names, f"kubernetes.default.svc.{CLUSTER_DOMAIN}", "localhost"]
    addresses = dict.fromkeys([cluster.address, LOOPBACK, KUBERNETES_SERVICE_ADDRESS])
    subject_names = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    _issue(cluster, "apiserver", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth\nsubjectAltName={subject_names}\n")
    _issue(cluster, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet", "extendedKeyUsage=clientAuth\n")
    _openssl("genrsa", "-out", key(cluster, "service-account"), "2048")
    _create_tokens(cluster)


def _openssl(*arguments: str | Path) -> None:
    run(["openssl", *arguments])


def _create_authority(cluster: Cluster) -> None:
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS, "-subj", "/CN=hammerwork-cluster"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
        *("-keyout", key(cluster, "ca"), "-out", certificate(cluster, "ca")),
    )


def _issue(cluster: Cluster, name: str, subject: str, extensions: str) -> None:
    request = cluster.certificates / f"{name}.csr"
    extension_file = cluster.certificates / f"{name}.extensions"
    extension_file.write_text(extensions)
    private_key = key(cluster, name)
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", private_key, "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-days", _DAYS, "-extfile", extension_file),
        *("-CA", certificate(cluster, "ca"), "-CAkey", key(cluster, "ca"), "-CAcreateserial"),
        *("-out", certificate(cluster, name)),
    )


def _create_tokens(cluster: Cluster) -> None:
    with tokens_file(cluster).open("w", newline="") as file:
        writer = csv.writer(file)
        for account in _ACCOUNTS:
            token = secrets.token_hex(16)
            writer.writerow([token, account.user, account.name, ",".join(account.groups)])
            _write_kubeconfig(cluster, account, token)


def _write_kubeconfig(cluster: Cluster, account: Account, token: str) -> None:
    name = "hammerwork"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": cluster.server, "certificate-authority": str(certificate(cluster, "ca"))},
            }
        ],
        "users": [{"name": account.name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": account.name}}],
        "current-context": name,
    }
    path = kubeconfig(cluster, account)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
