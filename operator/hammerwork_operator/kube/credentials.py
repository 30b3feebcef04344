"""Where the API server is and how to log in, for our client and for kopf: KUBECONFIG, or the Pod's service account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import client, config

from hammerwork_operator.kube.session import watch_session

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST = "KUBERNETES_SERVICE_HOST"


async def read() -> client.Configuration:
    """Return the settings of our client. No request is made.

    Raises:
        ConfigException: There is neither a usable KUBECONFIG nor a service account.
    """
    settings = client.Configuration()
    if _in_pod():
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    return settings


def login(**arguments: Any) -> kopf.AiohttpSession | None:
    """Return the same for kopf, with a session that it watches through."""
    found = _found(**arguments)
    if found is None:
        return None
    return kopf.AiohttpSession(
        server=found.server,
        default_namespace=found.default_namespace,
        aiohttp_session=watch_session(found.as_http_headers(), found.as_ssl_context()),
    )


def _found(**arguments: Any) -> kopf.ConnectionInfo | None:
    if not _in_pod():
        return kopf.login_with_kubeconfig(**arguments)
    host = os.environ[_HOST]
    # By address, not by name: the operator must not need the cluster's DNS to reach its API server.
    address = f"[{host}]" if ":" in host else host
    return kopf.ConnectionInfo(
        server=f"https://{address}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        ca_path=str(_SERVICE_ACCOUNT / "ca.crt"),
        token=(_SERVICE_ACCOUNT / "token").read_text().strip(),
        default_namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
    )


def _in_pod() -> bool:
    return bool(os.environ.get(_HOST)) and not os.environ.get("KUBECONFIG")
