"""The operator's configuration, read from environment variables."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hammerwork.service import environment
from hammerwork_operator.api import names

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLUSTER_ID = re.compile(r"[A-Za-z0-9._-]{1,63}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What can be set from outside."""

    port: int = 8080
    """HAMMERWORK_OPERATOR_PORT: serves /healthz, /readyz and /metrics; 0 takes any free port."""
    namespaces: tuple[str, ...] = ()
    """HAMMERWORK_WATCH_NAMESPACES: comma-separated; empty for all, which needs a ClusterRole."""
    cluster_id: str = ""
    """HAMMERWORK_CLUSTER_ID: tells this cluster from others on the same database; empty: the uid of kube-system."""
    worker_image: str = "localhost/hammerwork/worker:dev"
    """HAMMERWORK_WORKER_IMAGE: for pools whose template names no image."""
    database_hosts: tuple[str, ...] = ()
    """HAMMERWORK_DATABASE_HOSTS: comma-separated names, which may hold *, addresses and networks; empty for any."""
    certificates: str = "/etc/ssl"
    """HAMMERWORK_CERTIFICATES: the folder whose files database URLs may name."""
    allow_query_source: bool = False
    """HAMMERWORK_ALLOW_QUERY_SOURCE: true or false; whether JobBatches may have spec.query."""
    log_level: str = "INFO"
    """HAMMERWORK_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "text"
    """HAMMERWORK_LOG_FORMAT: text or json (one object a line)."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables; unset and empty ones mean the default.

        Raises:
            SettingError: A value cannot be used.
        """
        return cls(
            port=environment.port(environ, names.ENV_OPERATOR_PORT, default=cls.port),
            namespaces=_namespaces(environment.text(environ, names.ENV_WATCH_NAMESPACES)),
            cluster_id=_cluster_id(environment.text(environ, names.ENV_CLUSTER_ID)),
            worker_image=environment.text(environ, names.ENV_WORKER_IMAGE, default=cls.worker_image),
            database_hosts=_hosts(environment.text(environ, names.ENV_DATABASE_HOSTS)),
            certificates=environment.text(environ, names.ENV_CERTIFICATES, default=cls.certificates),
            allow_query_source=environment.truth(environ, names.ENV_ALLOW_QUERY_SOURCE, default=cls.allow_query_source),
            log_level=environment.log_level(environ, names.ENV_LOG_LEVEL, default=cls.log_level),
            log_format=environment.log_format(environ, names.ENV_LOG_FORMAT, default=cls.log_format),
        )


def _namespaces(value: str) -> tuple[str, ...]:
    found = _parts(value)
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            allowed = f"a comma-separated list of namespaces, not {name!r}"
            environment.refuse(names.ENV_WATCH_NAMESPACES, value, allowed)
    return found


def _cluster_id(value: str) -> str:
    if value and not _CLUSTER_ID.fullmatch(value):
        environment.refuse(names.ENV_CLUSTER_ID, value, "1 to 63 letters, digits, -, _ and .")
    return value


def _hosts(value: str) -> tuple[str, ...]:
    found = _parts(value)
    for host in found:
        if "/" in host and not _is_network(host):
            allowed = f"a comma-separated list of names, addresses and networks, not {host!r}"
            environment.refuse(names.ENV_DATABASE_HOSTS, value, allowed)
    return found


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _parts(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for each in value.split(",") if (part := each.strip())))
