"""Where the API server is and how to log in: KUBECONFIG, or the Pod's service account."""

from __future__ import annotations

import os

from kubernetes.aio import client, config

_HOST = "KUBERNETES_SERVICE_HOST"


async def read() -> client.Configuration:
    """Return the settings of our client. No request is made.

    Raises:
        ConfigException: There is neither a usable KUBECONFIG nor a service account.
    """
    settings = client.Configuration()
    settings.connection_pool_maxsize = 0  # without limit: a watch holds its connection for minutes
    if _in_pod():
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    return settings


def _in_pod() -> bool:
    return bool(os.environ.get(_HOST)) and not os.environ.get("KUBECONFIG")
