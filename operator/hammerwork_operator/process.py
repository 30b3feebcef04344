"""The operator's process: everything is put together, runs until it has to stop, and is taken apart again."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from typing import TYPE_CHECKING, Any, TypeVar

import kopf

from hammerwork.service.probes import ProbeServer
from hammerwork_operator.api import jobbatch, workerpool
from hammerwork_operator.databases.access import Access
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.watching import build_registry, build_settings
from hammerwork_operator.workerpool.controller import WorkerPoolController

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hammerwork_operator.config import Config

_LOGGER = logging.getLogger(__name__)
_CRD_SECONDS = 5.0
LISTED_SECONDS = 5.0
"""So long after its start the operator says of nothing that it is not there: it may not be listed yet."""

T = TypeVar("T")


class OperatorProcess:
    """One operator. `run` returns after SIGTERM or SIGINT, and raises when a watch fails for good."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._metrics = Metrics()
        self._watching = asyncio.Event()

    async def run(self) -> None:
        """Serve probes at once, wait for the CRDs, then watch."""
        # From this loop: one that is stuck does not answer, which is all that a restart can cure.
        probes = ProbeServer(self._config.port, self._metrics.registry, ready=self._not_ready)
        port = await probes.start()
        _LOGGER.info("probes and metrics on port %d", port)
        try:
            server = await ApiServer.connect()
            try:
                await self._operate(server)
            finally:
                await server.close()
        finally:
            await probes.stop()

    async def _operate(self, server: ApiServer) -> None:
        cluster = await _unless_told_to_stop(self._wait(server))
        if cluster is None:
            return
        databases = Databases(server, self._metrics, _access(self._config))
        batches = JobBatchController(server, databases, self._metrics, cluster=cluster)
        pools = WorkerPoolController(server, databases, self._metrics, default_image=self._config.worker_image)
        registry = build_registry(batches, pools)

        @kopf.on.startup(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
        async def startup(**_: object) -> None:
            asyncio.get_running_loop().call_later(LISTED_SECONDS, batches.listed)

        @kopf.on.cleanup(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
        async def cleanup(**_: object) -> None:
            self._watching.clear()
            await asyncio.gather(batches.stop(), pools.stop())
            await databases.close()

        namespaces = self._config.namespaces
        where = f"namespaces {', '.join(namespaces)}" if namespaces else "all namespaces"
        _LOGGER.info("watching %s, in cluster %s", where, cluster or "(not known)")
        await kopf.operator(
            registry=registry,
            settings=build_settings(),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
            # kopf's own guess asks for the user's name, and a user id in a container need not have one.
            identity=f"hammerwork-operator@{socket.gethostname()}",  # type: ignore[arg-type, unused-ignore]
            ready_flag=self._watching,
        )

    async def _wait(self, server: ApiServer) -> str:
        """Return what tells this cluster from others, once the API server serves what is needed."""
        await _wait_for_crds(server)
        return self._config.cluster_id or await _cluster(server)

    def _not_ready(self) -> str | None:
        return None if self._watching.is_set() else "not watching yet"


def _access(config: Config) -> Access:
    return Access(hosts=config.database_hosts, certificates=config.certificates)


async def _unless_told_to_stop(work: Coroutine[Any, Any, T]) -> T | None:
    """Run `work`; return None if a signal came before its end. Later on, kopf takes care of the signals."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    # Without a handler, SIGTERM does nothing to the first process of a container.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await asyncio.wait([task])
    return None if task.cancelled() else await task


async def _cluster(server: ApiServer) -> str:
    """Return what tells this cluster from others on the same database; empty where the operator may not know it."""
    while True:
        try:
            found = await server.get_namespace("kube-system")
        except ApiError as error:
            if error.status == 403:
                return ""
            _LOGGER.error("the API server does not answer: %s", error)  # noqa: TRY400 (the trace tells no more)
            await asyncio.sleep(_CRD_SECONDS)
        else:
            return found["metadata"]["uid"] if found is not None else ""


async def _wait_for_crds(server: ApiServer) -> None:
    """Return when the API server serves our resources: kopf looks for them only once, at its start."""
    wanted = {jobbatch.PLURAL, workerpool.PLURAL}
    while True:
        try:
            missing = wanted - await server.served_resources()
            if not missing:
                return
            _LOGGER.error("the API server does not serve %s; apply the CRDs", ", ".join(sorted(missing)))
        except ApiError as error:
            _LOGGER.error("the API server does not answer: %s", error)  # noqa: TRY400 (the trace tells no more)
        await asyncio.sleep(_CRD_SECONDS)
