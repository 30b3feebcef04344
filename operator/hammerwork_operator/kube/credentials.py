"""Where the API server is and how to log in, for our client and for kopf: KUBECONFIG, or the Pod's service account."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf
from kubernetes.aio import client, config

from hammerwork_operator.kube.session import Pauses, Watches, watch_session

if TYPE_CHECKING:
    from collections.abc import Callable

_LOGGER = logging.getLogger(__name__)
QUIET_SECONDS = 60.0
"""A login that held for longer than this is followed by the next one at once."""
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


class Logins:
    """The same for kopf, which logs in again whenever the API server does not take the last login (401)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = float("-inf")
        self._pauses = iter(Pauses())
        self._watches = Watches()

    async def login(self, **arguments: Any) -> kopf.AiohttpSession | None:
        """Return a session that kopf watches through. It takes any as good, so one after the other is made to wait."""
        if self._clock() - self._last > QUIET_SECONDS:
            self._pauses = iter(Pauses())
        elif (rest := self._last + next(self._pauses) - self._clock()) > 0:
            _LOGGER.warning("the API server does not take the login; the next is in %.1f s", rest)
            await asyncio.sleep(rest)
        self._last = self._clock()
        found = _found(**arguments)
        if found is None:
            return None
        return kopf.AiohttpSession(
            server=found.server,
            default_namespace=found.default_namespace,
            aiohttp_session=watch_session(found.as_http_headers(), found.as_ssl_context(), self._watches),
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
