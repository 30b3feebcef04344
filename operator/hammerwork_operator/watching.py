"""The watched resources, each with the controller that is told of its objects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hammerwork_operator.api import jobbatch, names, workerpool
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.kube.watch import Resource, Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.jobbatch.controller import JobBatchController
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.workqueue import Key
    from hammerwork_operator.workerpool.controller import WorkerPoolController

_OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"


def resources(batches: JobBatchController, pools: WorkerPoolController) -> list[Resource]:
    """Return what one operator process watches."""
    ours = f"apis/{API_VERSION}"
    return [
        Resource(
            ours,
            jobbatch.PLURAL,
            lambda manifest, deleted: batches.seen(manifest, deleted=deleted),
            missed=lambda key, uid: batches.seen(_gone(key, uid), deleted=True),
        ),
        Resource(
            ours,
            workerpool.PLURAL,
            lambda manifest, deleted: pools.seen(manifest, deleted=deleted),
            missed=lambda key, uid: pools.seen(_gone(key, uid), deleted=True),
        ),
        Resource("apis/apps/v1", "deployments", lambda manifest, _: pools.deployment_seen(manifest), selector=_OURS),
        Resource("api/v1", "pods", lambda manifest, deleted: pools.pod_seen(manifest, deleted=deleted), selector=_OURS),
    ]


async def watch(
    server: ApiServer, watched: Sequence[Resource], namespaces: Sequence[str], watching: asyncio.Event
) -> None:
    """Watch in these namespaces, or in all, until cancelled; `watching` is set when each list was read once."""
    where: Sequence[str | None] = namespaces or [None]
    watches = [Watch(server, resource, namespace) for resource in watched for namespace in where]
    async with asyncio.TaskGroup() as group:
        for each in watches:
            group.create_task(each.run())
        for each in watches:
            await each.listed.wait()
        watching.set()


def _gone(key: Key, uid: str) -> Manifest:
    namespace, name = key
    return {"metadata": {"namespace": namespace, "name": name, "uid": uid}}
