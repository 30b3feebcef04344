"""The operator's process: everything is put together, runs until it has to stop, and is taken apart again."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import kopf

from hammerwork.service.environment import SettingError
from hammerwork.service.probes import ProbeServer
from hammerwork_operator.api import jobbatch, jobbatchschedule, names, workerpool
from hammerwork_operator.databases.access import Access
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.kube.session import Pauses
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.schedule.controller import JobBatchScheduleController, utc_now
from hammerwork_operator.watching import build_registry, build_settings
from hammerwork_operator.workerpool.controller import WorkerPoolController

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime

    from hammerwork_operator.config import Config

_LOGGER = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0
LISTED_SECONDS = 5.0
"""So long after its start the operator says of nothing that it is not there: it may not be listed yet."""

_PASSING_REFUSALS = 6
"""So often a refusal at the start may pass, within 31 seconds: rights that were granted a moment ago need not hold yet.

Not so with Roles only: there some refusals are the rule.
"""

T = TypeVar("T")


class OperatorProcess:
    """One operator. `run` returns after SIGTERM or SIGINT, and raises when a watch fails for good."""

    def __init__(self, config: Config, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Take the configuration, and the clock that JobBatchSchedules go by."""
        self._config = config
        self._clock = clock
        self._metrics = Metrics()
        self._watching = asyncio.Event()
        self._with_schedules = True
        self._pauses = () if config.namespaces else tuple(islice(Pauses(), _PASSING_REFUSALS))

    async def run(self) -> None:
        """Serve probes at once, wait for the CRDs, then watch."""
        # From this loop: one that is stuck does not answer, which is all that a restart can cure.
        probes = ProbeServer(self._config.port, self._metrics.registry, ready=self._not_ready)
        try:
            port = await probes.start()
        except OSError as error:
            raise SettingError(f"{names.ENV_OPERATOR_PORT}: {self._config.port} cannot be served: {error}") from error
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
        batches = JobBatchController(
            server, databases, self._metrics, cluster=cluster, allows_queries=self._config.allow_query_source
        )
        pools = WorkerPoolController(server, databases, self._metrics, default_image=self._config.worker_image)
        schedules = None
        if self._with_schedules:
            schedules = JobBatchScheduleController(server, self._metrics, self._clock)
        registry = build_registry(batches, pools, schedules)

        @kopf.on.startup(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
        async def startup(**_: object) -> None:
            asyncio.get_running_loop().call_later(LISTED_SECONDS, batches.listed)

        @kopf.on.cleanup(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
        async def cleanup(**_: object) -> None:
            self._watching.clear()
            if schedules is not None:
                await schedules.stop()
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
        while missing := await _answered(lambda: _missing(server)):
            _LOGGER.error("the API server does not serve %s; apply the CRDs", ", ".join(sorted(missing)))
            await asyncio.sleep(_PAUSE_SECONDS)
        self._with_schedules = await _answered(lambda: self._may_list_schedules(server))
        return self._config.cluster_id or await _answered(lambda: _cluster(server, self._pauses))

    async def _may_list_schedules(self, server: ApiServer) -> bool:
        """Return whether this can be watched too, which definitions and rights of an older version do not have."""
        try:
            for namespace in self._config.namespaces or (None,):
                await _allowed(partial(server.peek, jobbatchschedule.PLURAL, namespace), self._pauses)
        except ApiError as error:
            if not error.not_found and not error.refused:
                raise
            remedy = "apply definitions and rights of this version, then restart the operator"
            _LOGGER.warning("no %s is run: %s; %s", jobbatchschedule.KIND, error, remedy)
            return False
        return True

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


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of the API server, asked again for as long as it gives none."""
    while True:
        try:
            return await ask()
        except ApiError as error:
            _LOGGER.error("the API server does not answer: %s", error)  # noqa: TRY400 (the trace tells no more)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _allowed(ask: Callable[[], Awaitable[T]], pauses: Sequence[float]) -> T:
    """Return the answer of the API server, asked again after each of the pauses while it forbids that."""
    for pause in pauses:
        try:
            return await ask()
        except ApiError as error:
            if not error.forbidden:
                raise
        await asyncio.sleep(pause)
    return await ask()


async def _cluster(server: ApiServer, pauses: Sequence[float]) -> str:
    """Return what tells this cluster from others on the same database; empty where the operator may not know it."""
    try:
        found = await _allowed(lambda: server.get_namespace("kube-system"), pauses)
    except ApiError as error:
        if not error.forbidden:
            raise
        _LOGGER.warning(
            "the cluster is not known, as the namespace kube-system may not be read: JobBatches that are created from "
            "now on are not told from those of other clusters on the same database, and one that is created again runs "
            "again once the cluster is known; grant that, or set HAMMERWORK_CLUSTER_ID"
        )
        return ""
    return found["metadata"]["uid"] if found is not None else ""


async def _missing(server: ApiServer) -> set[str]:
    """Return which of the resources are not served: kopf looks for them only once, at its start."""
    return {jobbatch.PLURAL, workerpool.PLURAL} - await server.served_resources()
