"""A JobBatch that nobody works on says so: real API server, real operator process, real PostgreSQL, real worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork import Job
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest


def served(wanted: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Served") == wanted


@pytest.mark.usefixtures("operator")
async def test_a_batch_says_whether_anybody_works_on_its_queue(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("alone", jobs=[{"payload": 1}]))
    found = await kubectl.wait("jobbatch", "alone", served("False NoWorkerPool"))
    assert [condition(found, kind) for kind in ("Ready", "Reconciling", "Stalled")] == [
        "True Running",
        "False Running",
        "False Running",
    ]
    (message,) = [entry["message"] for entry in found["status"]["conditions"] if entry["type"] == "Served"]
    assert message.startswith("no worker of queue work is registered in the database, and no WorkerPool in namespace")
    kubectl.create(workerpool("pool", replicas=0))
    kubectl.create(workerpool("another", queue="other"))
    kubectl("scale", "workerpool/pool", "--replicas=1")
    await kubectl.wait("jobbatch", "alone", served("True Served"))
    kubectl("scale", "workerpool/pool", "--replicas=0")
    await kubectl.wait("jobbatch", "alone", served("False NoWorkerPool"))
    kubectl.patch(
        "workerpool", "pool", {"spec": {"autoscaling": {"minReplicas": 0, "maxReplicas": 3, "targetJobsPerWorker": 9}}}
    )
    await kubectl.wait("jobbatch", "alone", served("True Served"))
    kubectl("delete", "workerpool", "pool")
    await kubectl.wait("jobbatch", "alone", served("False NoWorkerPool"))
    ends = asyncio.Event()

    async def handler(_: Job) -> None:
        await ends.wait()

    async with worker(with_database, handler):
        await kubectl.wait("jobbatch", "alone", served("True Served"))
        ends.set()
        await kubectl.wait("jobbatch", "alone", lambda found: condition(found, "Ready") == "True Completed")
    assert condition(kubectl.get("jobbatch", "alone"), "Served") == "-"
