"""Operators in the test's own process that end as a crash does, before any chosen request to API server or database."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from kubernetes.aio import client, config

from hammerwork_operator.databases.access import Access
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.workerpool.controller import WorkerPoolController
from tests.harness.manifests import API_VERSION
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.harness.manifests import Manifest
    from tests.harness.proxy import Proxy

_NEVER = 1 << 31
_LOOK_SECONDS = 0.3


class Seen(Protocol):
    """How a controller is told of an object."""

    def __call__(self, manifest: Manifest, *, deleted: bool = False) -> None: ...


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

    Gives the steps of the first, and the URL of the database that counts them. An operator that fails breaks off the
    block.
    """
    steps = Steps(last)
    async with proxy(url) as (relay, through), asyncio.TaskGroup() as group:
        relay.before_burst = steps.step
        operators = group.create_task(_operators(kubeconfig, namespace, steps, relay))
        yield steps, through
        operators.cancel()


async def _operators(kubeconfig: Path, namespace: str, steps: Steps, relay: Proxy) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_operator(kubeconfig, namespace, steps))
        try:
            await steps.crashed.wait()
        finally:
            relay.before_burst = None
            relay.cut()
            first.cancel()
    await _operator(kubeconfig, namespace, Steps())


async def _operator(kubeconfig: Path, namespace: str, steps: Steps) -> None:
    server, metrics = await api_server(kubeconfig, steps), Metrics()
    databases = Databases(server, metrics, Access(hosts=(), certificates="/"))
    batches = JobBatchController(server, databases, metrics, allows_queries=True)
    pools = WorkerPoolController(server, databases, metrics, default_image="example/worker:1")
    watched = await api_server(kubeconfig)
    ours, apps = f"/apis/{API_VERSION}/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"

    def deployment_seen(manifest: Manifest, *, deleted: bool = False) -> None:
        del deleted
        pools.deployment_seen(manifest)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_watch(watched, f"{ours}/jobbatches", batches.seen, batches.listed))
            group.create_task(_watch(watched, f"{ours}/workerpools", pools.seen))
            group.create_task(_watch(watched, f"{apps}/deployments", deployment_seen))
    finally:
        await asyncio.gather(batches.stop(), pools.stop())
        await databases.close()
        await server.close()
        await watched.close()


async def _watch(server: SteppingServer, path: str, seen: Seen, listed: Callable[[], None] = lambda: None) -> None:
    """Tell of objects as they are, a few times a second. These requests are no steps."""
    known: dict[str, Manifest] = {}
    begun = False
    while True:
        with contextlib.suppress(ApiError):  # an API server that has just got the CRD answers with 429
            found = {item["metadata"]["name"]: item for item in (await server.request("GET", path))["items"]}
            for name in known.keys() - found.keys():
                seen(known[name], deleted=True)
            for item in found.values():
                seen(item)
            known = found
            if not begun:
                listed()
                begun = True
        await asyncio.sleep(_LOOK_SECONDS)
