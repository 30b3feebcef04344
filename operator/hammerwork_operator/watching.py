"""What kopf calls: the watched resources, each handed on in one line, and kopf's settings.

kopf watches; it handles nothing by itself. With `on.event` handlers only, it adds no finalizer and no annotation: the
last-handled copy of a spec, which its other handlers need, would double a JobBatch of 1 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from hammerwork_operator.api import jobbatch, jobbatchschedule, names, workerpool
from hammerwork_operator.api.common import GROUP, VERSION
from hammerwork_operator.kube import credentials
from hammerwork_operator.kube.session import Pauses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork_operator.jobbatch.controller import JobBatchController
    from hammerwork_operator.schedule.controller import JobBatchScheduleController
    from hammerwork_operator.workerpool.controller import WorkerPoolController


LIST_OBJECTS = 25
"""Objects that one answer lists: of the largest that the API server takes, that is 40 MiB."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of a spec, and does not spend time on making one for every event."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing to store."""


def build_registry(
    batches: JobBatchController, pools: WorkerPoolController, schedules: JobBatchScheduleController | None
) -> kopf.OperatorRegistry:
    """Return the handlers of one operator process; schedules are None where they cannot be watched."""
    registry = kopf.OperatorRegistry()
    logins = credentials.Logins()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def login(**arguments: Any) -> kopf.AiohttpSession | None:
        return await logins.login(**arguments)

    @kopf.on.event(GROUP, VERSION, jobbatch.PLURAL, registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def jobbatch_event(event: Any, **_: Any) -> None:
        batches.seen(event["object"], deleted=event["type"] == "DELETED")
        if schedules is not None:
            schedules.batch_seen(event["object"], deleted=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, workerpool.PLURAL, registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def workerpool_event(event: Any, **_: Any) -> None:
        pools.seen(event["object"], deleted=event["type"] == "DELETED")
        batches.pool_seen(event["object"], deleted=event["type"] == "DELETED")

    @kopf.on.event("apps", "v1", "deployments", registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def deployment_event(event: Any, **_: Any) -> None:
        pools.deployment_seen(event["object"])

    @kopf.on.event("", "v1", "pods", registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    async def pod_event(event: Any, **_: Any) -> None:
        pools.pod_seen(event["object"], deleted=event["type"] == "DELETED")

    if schedules is not None:

        @kopf.on.event(GROUP, VERSION, jobbatchschedule.PLURAL, registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
        async def schedule_event(event: Any, **_: Any) -> None:
            schedules.seen(event["object"], deleted=event["type"] == "DELETED")

    return registry


def build_settings() -> kopf.OperatorSettings:
    """Return kopf's settings."""
    settings = kopf.OperatorSettings()
    # kopf takes its finalizer off objects that none of its handlers holds, so it must not take ours for its own.
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no watch on CRDs and namespaces, so no cluster-wide rights for them
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = LIST_OBJECTS
    settings.networking.error_backoffs = Pauses()
    ours = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
    settings.watching.label_selectors["apps", "v1", "deployments"] = ours
    settings.watching.label_selectors["", "v1", "pods"] = ours
    # A worker of kopf's stays with its object for the idle timeout, so a limit would let 50 objects hold up all others.
    # Ours only hand events on; what takes time is limited in the workqueue.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    return settings
