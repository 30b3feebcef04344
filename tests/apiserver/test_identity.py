"""Which batch in the database an object stands for, in several clusters and after an upgrade."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobQueue
from hammerwork_operator.jobbatch.observed import observe
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch

if TYPE_CHECKING:
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

THREE = [{"payload": n} for n in range(3)]


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def complete(found: Manifest) -> bool:
    return condition(found, "Complete") == "True Completed"


async def test_objects_that_are_alike_in_two_clusters_are_two_batches(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, with_database: str
) -> None:
    """Of two clusters, one after the other: an API server has only one of a name."""

    def start_in(cluster: str) -> None:
        if stopped_operator.running():
            stopped_operator.stop()
        stopped_operator.environment["HAMMERWORK_CLUSTER_ID"] = cluster
        stopped_operator.start()

    start_in("east")
    kubectl.create(jobbatch("daily", jobs=THREE, deletionPolicy="Orphan"))
    east = await kubectl.wait("jobbatch", "daily", running)
    kubectl("delete", "jobbatch", "daily", "--timeout=30s")
    start_in("west")
    kubectl.create(jobbatch("daily", jobs=THREE))
    west = await kubectl.wait("jobbatch", "daily", running)
    assert west["status"]["batchId"] != east["status"]["batchId"]
    # The same cluster by another name: what is loaded keeps its id.
    start_in("far-west")
    kubectl.patch("jobbatch", "daily", {"spec": {"suspend": True}})
    kept = await kubectl.wait("jobbatch", "daily", lambda found: condition(found, "Ready") == "True Suspended")
    assert kept["status"]["batchId"] == west["status"]["batchId"]
    async with await JobQueue.connect(with_database) as queue:
        assert len(await queue.list_batches()) == 2


async def test_what_an_older_operator_has_loaded_goes_on_and_does_not_run_twice(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, with_database: str
) -> None:
    """It knew no clusters. Of one batch the object is there, with its status; of the other one only the rows."""
    runs = 0

    async def handler(_: Job) -> None:
        nonlocal runs
        runs += 1

    former = {}
    for name in ("running", "forgotten"):
        kubectl.create(jobbatch(name, jobs=THREE))
        observed = observe(kubectl.get("jobbatch", name))
        assert observed.former_id is not None
        former[name] = str(observed.former_id)
        async with await JobQueue.connect(with_database) as queue:
            await queue.create_tables()
            jobs = JobBatch(name).with_jobs(Job("work", n) for n in range(3))
            await queue.enqueue_batch(jobs, batch_id=observed.former_id, fingerprint=observed.fingerprint)
    loaded = {"type": "Enqueued", "status": "True", "reason": "Enqueued", "message": "", "observedGeneration": 1}
    loaded["lastTransitionTime"] = "2026-05-01T12:00:00Z"
    status = {"observedGeneration": 1, "batchId": former["running"], "conditions": [loaded]}
    kubectl(
        "patch",
        "jobbatch",
        "running",
        "--subresource=status",
        "--type=merge",
        "--patch",
        json.dumps({"status": status}),
    )
    kubectl("delete", "jobbatch", "forgotten")
    stopped_operator.environment["HAMMERWORK_CLUSTER_ID"] = "east"
    stopped_operator.start()
    async with worker(with_database, handler):
        await kubectl.wait("jobbatch", "running", complete)
        kubectl.create(jobbatch("forgotten", jobs=THREE))
        await kubectl.wait("jobbatch", "forgotten", complete)
    assert {name: kubectl.get("jobbatch", name)["status"]["batchId"] for name in former} == former
    assert runs == 6
    kubectl("delete", "jobbatch", "running", "forgotten", "--timeout=30s")
    async with await JobQueue.connect(with_database) as queue:
        assert await queue.list_batches() == []
