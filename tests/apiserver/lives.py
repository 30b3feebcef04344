"""Operators in the test's own process that end as a crash does, before any chosen request to API server or database."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from kubernetes.aio import client, config

from hammerwork_operator.databases.access import Access
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube.client import ApiServer
from hammerwork_operator.metrics import Metrics
from tests.harness.manifests import API_VERSION
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.manifests import Manifest
    from tests.harness.proxy import Proxy

_NEVER = 1 << 31
_LOOK_SECONDS = 0.2


class Steps:
    """Counts the requests of an operator; the one that is `last` is not made, nor is any other after it."""

    def __init__(self, last: int | None = None) -> None:
        self.count = 0
        self.crashed = asyncio.Event()
        self._last = _NEVER if last is None else last

    async def step(self) -> None:
        """Take note that a request is about to be made."""
        self.count += 1
        if self.count >= self._last:
            self.crashed.set()
            await asyncio.Event().wait()


class SteppingServer(ApiServer):
    """A connection to the API server whose requests are steps."""

    steps: Steps

    async def request(self, *arguments: Any, **options: Any) -> Manifest:
        """Make one request, unless the operator crashes before."""
        await self.steps.step()
        return await super().request(*arguments, **options)


async def api_server(kubeconfig: Path, steps: Steps | None = None) -> SteppingServer:
    """Return a connection with the rights of the kubeconfig."""
    settings = client.Configuration()
    settings.connection_pool_maxsize = 0
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
    server = SteppingServer(client.ApiClient(settings))
    server.steps = steps or Steps()
    return server


@contextlib.asynccontextmanager
async def crashing_operator(
    kubeconfig: Path, namespace: str, url: str, last: int | None
) -> AsyncIterator[tuple[Steps, str]]:
    """Run an operator that crashes before its request number `last`, and another one after it.

    Gives the steps of the first, and the URL of the database that counts them.
    """
    steps = Steps(last)
    async with proxy(url) as (relay, through):
        relay.before_burst = steps.step
        task = asyncio.create_task(_lives(kubeconfig, namespace, steps, relay))
        try:
            yield steps, through
        finally:
            await _end(task)


async def _lives(kubeconfig: Path, namespace: str, steps: Steps, relay: Proxy) -> None:
    first = asyncio.create_task(_live(kubeconfig, namespace, steps))
    try:
        await steps.crashed.wait()
    finally:
        relay.before_burst = None
        relay.cut()
        await _end(first)
    await _live(kubeconfig, namespace, Steps())


async def _live(kubeconfig: Path, namespace: str, steps: Steps) -> None:
    server, metrics = await api_server(kubeconfig, steps), Metrics()
    databases = Databases(server, metrics, Access(hosts=(), certificates="/"))
    batches = JobBatchController(server, databases, metrics)
    try:
        await _watch(await api_server(kubeconfig), namespace, batches)
    finally:
        await batches.stop()
        await databases.close()
        await server.close()


async def _watch(server: SteppingServer, namespace: str, batches: JobBatchController) -> None:
    """Tell of the namespace's JobBatches as they are, a few times a second. These requests are no steps."""
    known: dict[str, Manifest] = {}
    try:
        while True:
            answer = await server.request("GET", f"/apis/{API_VERSION}/namespaces/{namespace}/jobbatches")
            found = {item["metadata"]["name"]: item for item in answer["items"]}
            for name in known.keys() - found.keys():
                batches.seen(known[name], deleted=True)
            for item in found.values():
                batches.seen(item)
            known = found
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await server.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
