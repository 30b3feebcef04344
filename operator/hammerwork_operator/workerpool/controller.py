"""Keeps the Deployment of every WorkerPool as `deployment` builds it and writes what `status` computes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from hammerwork_operator.api.names import LABEL_POOL
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.api.workerpool import KIND, PLURAL
from hammerwork_operator.databases.secret import SecretProblemError, read_database_secret
from hammerwork_operator.kube import events
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.notes import Subject
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.workerpool import status
from hammerwork_operator.workerpool.deployment import InvalidTemplateError, build_deployment
from hammerwork_operator.workerpool.observed import ObservedPool, observe
from hammerwork_operator.workerpool.status import Trouble

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics

SECRET_SECONDS = 10.0
"""How often the Secret is looked at: Secrets are read by name, never watched."""
TROUBLE_SECONDS = 3.0
"""How soon what a person has to cure is looked at again."""


class _TroubleError(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.trouble = Trouble(reason, message)


class WorkerPoolController:
    """Brings WorkerPools to their size. `seen` and `deployment_seen` tell it of every change."""

    def __init__(self, server: ApiServer, metrics: Metrics, *, default_image: str) -> None:
        self._server = server
        self._metrics = metrics
        self._default_image = default_image
        self._queue = Workqueue(KIND, self._reconcile, metrics)
        self._pools: dict[Key, ObservedPool] = {}

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a WorkerPool as the API server has it now."""
        key = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if deleted:
            self._pools.pop(key, None)
            return
        pool = observe(manifest)
        known = self._pools.get(key)
        if known is not None and known.uid == pool.uid and int(pool.resource_version) < int(known.resource_version):
            return  # we have written since
        self._pools[key] = pool
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
        trouble = None
        deployment = await self._server.get_deployment(pool.namespace, pool.deployment_name)
        try:
            deployment = await self._apply(pool, deployment)
        except _TroubleError as error:
            trouble = error.trouble
            if deployment is not None and not _owned(deployment, pool):
                deployment = None
        try:
            await self._write_status(key, pool, status.compute(pool, deployment, trouble, datetime.now(UTC)))
        except ApiError as error:
            if not error.not_found:
                raise
            self._pools.pop(key, None)
            return None
        return TROUBLE_SECONDS if trouble is not None else SECRET_SECONDS

    async def _apply(self, pool: ObservedPool, existing: Manifest | None) -> Manifest:
        if pool.problem is not None:
            raise _TroubleError(Reason.INVALID_SPEC, pool.problem)
        if existing is not None and not _owned(existing, pool):
            raise _TroubleError(
                Reason.DEPLOYMENT_CONFLICT,
                f"Deployment {pool.deployment_name} belongs to something else; delete or rename one of them",
            )
        try:
            secret, _ = await read_database_secret(self._server, pool.namespace, pool.spec.database_secret_ref)
        except SecretProblemError as error:
            raise _TroubleError(error.reason, error.message) from error
        try:
            manifest = build_deployment(pool, default_image=self._default_image, secret=secret)
        except InvalidTemplateError as error:
            raise _TroubleError(Reason.INVALID_SPEC, str(error)) from error
        try:
            return await self._server.apply_deployment(manifest)
        except ApiError as error:
            if error.refused:
                raise _TroubleError(Reason.DEPLOYMENT_REJECTED, error.message) from error
            raise

    async def _write_status(self, key: Key, pool: ObservedPool, wanted: status.Status) -> None:
        patch = {name: value for name, value in wanted.items() if pool.status.get(name) != value}
        if not patch:
            return
        answer = await self._server.patch_status(PLURAL, pool.namespace, pool.name, pool.uid, patch)
        self._metrics.status_writes.labels(KIND).inc()
        if (known := self._pools.get(key)) is not None and known.uid == pool.uid:
            self._pools[key] = msgspec.structs.replace(
                known, status=wanted, resource_version=answer["metadata"]["resourceVersion"]
            )
        subject = Subject(kind=KIND, namespace=pool.namespace, name=pool.name, uid=pool.uid)
        for note in status.notes(pool.status, wanted):
            await events.record(self._server, subject, note)


def _owned(deployment: Manifest, pool: ObservedPool) -> bool:
    owners = deployment["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == pool.uid for owner in owners)
