"""Applies the Deployment that `plan` decides on for every WorkerPool and writes what `status` computes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hammerwork_operator.api.names import LABEL_POOL
from hammerwork_operator.api.workerpool import KIND, PLURAL
from hammerwork_operator.kube import events, statuses
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.statuses import Pace
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.pods import causes
from hammerwork_operator.pods.events import explained
from hammerwork_operator.pods.marking import IdleMarker
from hammerwork_operator.pods.recovering import ClaimRecovery
from hammerwork_operator.pods.watched import WatchedPods
from hammerwork_operator.workerpool import queue_status, status
from hammerwork_operator.workerpool.budgets import DisruptionBudgets
from hammerwork_operator.workerpool.gathering import gather
from hammerwork_operator.workerpool.observed import ObservedPool, observe
from hammerwork_operator.workerpool.plan import decide, rejected, unapplied
from hammerwork_operator.workerpool.scaler import Scaler

if TYPE_CHECKING:
    from hammerwork_operator.api.common import DatabaseSecretRef, Manifest
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.situation import Status
    from hammerwork_operator.metrics import Metrics


PROGRESS_SECONDS = 5.0
"""Counts that change all the time are written at most this often."""


class WorkerPoolController:
    """Brings WorkerPools to their size. The watch calls `seen` and `deployment_seen` for every change."""

    def __init__(self, server: ApiServer, databases: Databases, metrics: Metrics, *, default_image: str) -> None:
        self._server = server
        self._metrics = metrics
        self._default_image = default_image
        self._queue = Workqueue(KIND, self._reconcile, metrics)
        self._pools: dict[Key, ObservedPool] = {}
        self._unapplied: set[Key] = set()
        """Pools whose Deployment could not be applied at the last try, for what may pass by itself."""
        self._doubted: set[Key] = set()
        """Pools of which the watch has brought an older version: they are to be read."""
        self._paces: dict[Key, Pace] = {}
        self._secrets = databases.secrets
        self._scaler = Scaler(databases, metrics, self._queue_seen)
        self._pods = WatchedPods()
        self._claims = ClaimRecovery(databases, metrics, self._secret_of)
        self._marker = IdleMarker(server, databases)
        self._budgets = DisruptionBudgets(server)

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a WorkerPool as the API server has it now."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        known = self._pools.get(key)
        if known is not None and deleted is (known.uid == metadata["uid"]):  # gone, or replaced
            self._forget(key)
            known = None
        if deleted:
            return
        if known is not None and statuses.is_older(metadata, known.resource_version):
            self._doubted.add(key)
            self._queue.add(key)
            return
        pool = observe(manifest)
        if pool == known:
            return  # what the last write of its status has made
        self._pools[key] = pool
        self._follow_secret(pool, known)
        if pool.deleted:
            self._scaler.forget(key)
        else:
            self._scaler.follow(key, pool)
        self._queue.add(key)

    def deployment_seen(self, manifest: Manifest) -> None:
        """Take note that a worker Deployment has changed or is gone."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], (metadata.get("labels") or {}).get(LABEL_POOL, ""))
        if key in self._pools:
            self._queue.add(key)

    def pod_seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a worker Pod as the API server has it now."""
        change = self._pods.seen(manifest, deleted=deleted)
        pod = change.pod
        if change.loss and pod.loss is not None:
            self._claims.lost(change.pool, pod.uid, certain=pod.loss.certain)
        elif pod.loss is None and not pod.leaving:
            self._claims.works(change.pool, pod.uid)
        if change.cause and change.pool in self._pools:
            self._queue.add(change.pool)

    async def stop(self) -> None:
        """End all work."""
        self._scaler.stop()
        await asyncio.gather(self._queue.stop(), self._claims.stop())

    def _secret_of(self, key: Key) -> DatabaseSecretRef | None:
        pool = self._pools.get(key)
        return pool.spec.database_secret_ref if pool is not None and pool.problem is None else None

    def _follow_secret(self, pool: ObservedPool, before: ObservedPool | None) -> None:
        name, key = pool.spec.database_secret_ref.name, (pool.namespace, pool.name)
        if before is not None and before.spec.database_secret_ref.name != name:
            self._secrets.unfollow(pool.namespace, before.spec.database_secret_ref.name, key)
        self._secrets.follow(pool.namespace, name, key, lambda: self._queue.add(key))

    def _queue_seen(self, key: Key) -> None:
        """Take note that there may be news of the pool's queue; nothing is asked where they change nothing."""
        if (pool := self._pools.get(key)) is None:
            return
        if self._scaler.has_news(key, pool, progress_too=self._pace(key).rest(progress_only=True) <= 0):
            self._queue.add(key)

    def _forget(self, key: Key) -> None:
        if (pool := self._pools.pop(key, None)) is not None:
            self._budgets.forget(pool.uid)
            self._secrets.unfollow(pool.namespace, pool.spec.database_secret_ref.name, key)
        self._paces.pop(key, None)
        self._unapplied.discard(key)
        self._doubted.discard(key)
        self._scaler.forget(key)

    def _pace(self, key: Key) -> Pace:
        return self._paces.setdefault(key, Pace(progress_pause=PROGRESS_SECONDS))

    async def _reconcile(self, key: Key) -> float | None:
        if key in self._doubted:
            await self._read(key)
        pool = self._pools.get(key)
        if pool is None or pool.deleted:
            return None  # the Deployment goes with its owner
        facts = await gather(self._server, self._secrets, pool)
        if self._pools.get(key) is not pool:
            return 0.0  # it has changed or is gone meanwhile
        scaled = self._scaler.decide(key, pool, facts)
        plan = decide(pool, facts, default_image=self._default_image, workers=scaled.workers)
        deployment = facts.deployment
        if plan.deployment is not None:
            await self._before_fewer(pool, deployment, plan.deployment)
            try:
                deployment = await self._server.apply_deployment(plan.deployment)
                scaled, notes = self._scaler.carried_out(key, pool, scaled, facts.deployment, datetime.now(UTC))
                await events.record(self._server, pool.subject, notes)
                await self._budgets.bring(pool)
                self._unapplied.discard(key)
            except ApiError as error:
                if not error.refused and key not in self._unapplied:
                    self._unapplied.add(key)
                    raise  # most such failures are over at the next try
                plan = rejected(error.message) if error.refused else unapplied(error.message)
        now = datetime.now(UTC)
        pods, again = await explained(self._server, pool.namespace, self._pods.of(key), now)
        cause = causes.of_pool(pods, database=scaled.obstacle)
        wanted = status.compute(pool, deployment, plan.obstacle, now, scaled=scaled, cause=cause)
        try:
            rest = await self._write_status(key, pool, wanted)
        except ApiError as error:
            if not error.not_found:
                raise
            self._forget(key)
            return None
        return min([plan.after, *(seconds for seconds in (rest, again) if seconds > 0)])

    async def _read(self, key: Key) -> None:
        """Take the pool as it is, also if it is older than what was known of it."""
        before = self._pools.get(key)
        manifest = await self._server.get(PLURAL, *key)
        self._doubted.discard(key)
        if before is None or self._pools.get(key) is not before:
            return  # the watch has brought a newer one meanwhile
        if manifest is None:
            self._forget(key)
        elif manifest["metadata"]["uid"] == before.uid:
            self._pools[key] = pool = observe(manifest)
            self._follow_secret(pool, before)
            self._scaler.follow(key, pool)

    async def _before_fewer(self, pool: ObservedPool, now: Manifest | None, wanted: Manifest) -> None:
        keep, there = wanted["spec"].get("replicas"), (now or {"spec": {}})["spec"].get("replicas", 0)
        if keep is not None and keep < there:
            pods = self._pods.of((pool.namespace, pool.name))
            secret = pool.spec.database_secret_ref
            await self._marker.mark(pool.namespace, secret, pods, queue=pool.spec.queue, keep=keep)

    async def _write_status(self, key: Key, pool: ObservedPool, wanted: Status) -> float:
        """Write what has changed; return the seconds until that may be done, not above 0 if it is done."""
        change = statuses.patch(pool.status, wanted)
        if change is None:
            return 0.0
        pace = self._pace(key)
        if (rest := pace.rest(progress_only=change.keys() <= queue_status.FIELDS)) > 0:
            return rest
        with pace.writing():
            version = await statuses.write(self._server, self._metrics, PLURAL, pool.subject, change)
        if (known := self._pools.get(key)) is not None and known.uid == pool.uid:
            self._pools[key] = known.with_status(wanted, version)
        await events.record(self._server, pool.subject, status.notes(pool.status, wanted))
        return 0.0
