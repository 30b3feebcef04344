"""Tells Kubernetes which Pods to take first when a pool gets smaller."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from hammerwork.errors import HammerworkError
from hammerwork_operator.api.names import ANNOTATION_DELETION_COST
from hammerwork_operator.databases.secrets import SecretProblemError
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.pods import costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork_operator.api.common import DatabaseSecretRef
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.pods.observed import ObservedPod

_LOGGER = logging.getLogger(__name__)
_SECONDS = 5.0
"""A pool does not wait longer than this before it gets smaller."""
_PARALLEL = 20


class IdleMarker:
    """Writes what the deletion of each Pod costs, just before some are deleted."""

    def __init__(self, server: ApiServer, databases: Databases) -> None:
        self._server = server
        self._databases = databases

    async def mark(
        self, namespace: str, secret: DatabaseSecretRef, pods: Sequence[ObservedPod], *, queue: str, keep: int
    ) -> None:
        """Let those go first that hold the fewest jobs. Whatever stands against it is logged: fewer they will be."""
        if keep == 0 or sum(pod.ready for pod in pods) <= keep:
            return
        try:
            async with asyncio.timeout(_SECONDS):
                database = await self._databases.database(namespace, secret)
                loads: Counter[str] = Counter()
                for worker in await database.queue.get_workers(queue):
                    loads[worker.instance.partition("/")[0]] += worker.jobs_held
                await _write(self._server, namespace, costs.changes(pods, loads, keep=keep))
        except (ApiError, HammerworkError, SecretProblemError, TimeoutError) as error:
            _LOGGER.warning("idle Pods of queue %s in %s are not told from busy ones: %r", queue, namespace, error)


async def _write(server: ApiServer, namespace: str, wanted: dict[str, int]) -> None:
    limit = asyncio.Semaphore(_PARALLEL)

    async def write(pod: str, cost: int) -> None:
        async with limit:
            await server.annotate_pod(namespace, pod, {ANNOTATION_DELETION_COST: str(cost) if cost else None})

    outcomes = await asyncio.gather(*(write(pod, cost) for pod, cost in wanted.items()), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, ApiError) and not outcome.not_found:
            raise outcome
        if isinstance(outcome, BaseException) and not isinstance(outcome, ApiError):
            raise outcome
