"""Applies the Deployment that `plan` decides on for every WorkerPool and writes what `status` computes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hammerwork_operator.api.names import LABEL_POOL
from hammerwork_operator.api.workerpool import KIND, PLURAL
from hammerwork_operator.kube import events, statuses
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.workerpool import status
from hammerwork_operator.workerpool.gathering import gather
from hammerwork_operator.workerpool.observed import ObservedPool, observe
from hammerwork_operator.workerpool.plan import decide, rejected, unapplied

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.situation import Status
    from hammerwork_operator.metrics import Metrics


class WorkerPoolController:
    """Brings WorkerPools to their size. The watch calls `seen` and `deployment_seen` for every change."""

    def __init__(self, server: ApiServer, metrics: Metrics, *, default_image: str) -> None:
        self._server = server
        self._metrics = metrics
        self._default_image = default_image
        self._queue = Workqueue(KIND, self._reconcile, metrics)
        self._pools: dict[Key, ObservedPool] = {}
        self._unapplied: set[Key] = set()
        """Pools whose Deployment could not be applied at the last try, for what may pass by itself."""

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a WorkerPool as the API server has it now."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if deleted:
            self._pools.pop(key, None)
            self._unapplied.discard(key)
            return
        known = self._pools.get(key)
        if known is not None and known.uid == metadata["uid"] and statuses.is_older(metadata, known.resource_version):
            return
        self._pools[key] = observe(manifest)
        self._queue.add(key)

    def deployment_seen(self, manifest: Manifest) -> None:
        """Take note that a worker Deployment has changed or is gone."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], (metadata.get("labels") or {}).get(LABEL_POOL, ""))
        if key in self._pools:
            self._queue.add(key)

    async def stop(self) -> None:
        """End all work."""
        await self._queue.stop()

    async def _reconcile(self, key: Key) -> float | None:
        pool = self._pools.get(key)
        if pool is None or pool.deleted:
            return None  # the Deployment goes with its owner
        facts = await gather(self._server, pool)
        plan = decide(pool, facts, default_image=self._default_image)
        deployment = facts.deployment
        if plan.deployment is not None:
            try:
                deployment = await self._server.apply_deployment(plan.deployment)
                self._unapplied.discard(key)
            except ApiError as error:
                if not error.refused and key not in self._unapplied:
                    self._unapplied.add(key)
                    raise  # most such failures are over at the next try
                plan = rejected(error.message) if error.refused else unapplied(error.message)
        try:
            await self._write_status(key, pool, status.compute(pool, deployment, plan.obstacle, datetime.now(UTC)))
        except ApiError as error:
            if not error.not_found:
                raise
            self._pools.pop(key, None)
            return None
        return plan.after

    async def _write_status(self, key: Key, pool: ObservedPool, wanted: Status) -> None:
        change = statuses.patch(pool.status, wanted)
        if change is None:
            return
        version = await statuses.write(self._server, self._metrics, PLURAL, pool.subject, change)
        if (known := self._pools.get(key)) is not None and known.uid == pool.uid:
            self._pools[key] = known.with_status(wanted, version)
        await events.record(self._server, pool.subject, status.notes(pool.status, wanted))
