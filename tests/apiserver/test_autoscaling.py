"""The number of a pool's workers follows its queue: real control plane, real database, workers of the test."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from hammerwork import Job, JobBatch, JobQueue
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import secret, workerpool
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

REACTION_SECONDS = 30.0
"""It takes two ticks of a second and a reconcile, on a machine that has nothing else to do."""


def autoscaled(name: str, *, window: int = 0, **autoscaling: Any) -> Manifest:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": window}}
    rules = {"minReplicas": 0, "maxReplicas": 3, "targetJobsPerWorker": 10, "behavior": behavior, **autoscaling}
    return workerpool(name, autoscaling=rules)


def autoscaler(of: str, *, at_least: int) -> Manifest:
    target = {"apiVersion": "hammerwork.io/v1alpha1", "kind": "WorkerPool", "name": of}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": at_least,
        "maxReplicas": 9,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": of}, "spec": spec}


def has(replicas: int) -> Any:
    return lambda deployment: deployment["spec"]["replicas"] == replicas


def jobs(count: int) -> JobBatch:
    return JobBatch("emails").with_jobs([Job("work", n) for n in range(count)])


async def test_from_zero_and_back(kubectl: Kubectl, operator: OperatorUnderTest, with_database: str) -> None:
    assert operator.running()
    kubectl.create(workerpool("fixed", queue="other"))
    kubectl.create(autoscaler("fixed", at_least=2))
    kubectl.create(autoscaled("mailers"))
    await kubectl.wait(
        "workerpool", "mailers", lambda found: condition(found, "ScalingActive") == "True ValidMetricFound"
    )
    await kubectl.wait("deployment", "mailers-worker", has(0))
    async with await JobQueue.connect(with_database) as queue:
        batch_id = await queue.enqueue_batch(jobs(25))
        began = time.monotonic()
        await kubectl.wait("deployment", "mailers-worker", has(3), seconds=REACTION_SECONDS)
        print(f"from 25 jobs to a Deployment of 3: {time.monotonic() - began:.2f} s")
        up = await kubectl.wait("workerpool", "mailers", lambda found: found["status"].get("queueDepth") == 25)
        assert (up["status"]["desiredReplicas"], up["status"]["jobsProcessed"]) == (3, 0)
        assert condition(up, "ScalingLimited") == "False DesiredWithinRange"
        assert "lastScaleTime" in up["status"]
        # spec.replicas is not regarded while there is spec.autoscaling; nothing else happens in the queue meanwhile.
        kubectl("scale", "workerpool/mailers", "--replicas=7")
        scaled = await kubectl.wait(
            "workerpool",
            "mailers",
            lambda found: found["status"]["observedGeneration"] == found["metadata"]["generation"] > 1,
        )
        assert (scaled["spec"]["replicas"], scaled["status"]["desiredReplicas"]) == (7, 3)
        assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 3
        async with worker(with_database):
            await queue.wait(batch_id, timeout=30)
            await kubectl.wait("deployment", "mailers-worker", has(0))
    done = await kubectl.wait("workerpool", "mailers", lambda found: found["status"].get("jobsProcessed") == 25)
    assert done["status"]["successRate"] == "100%"
    assert (done["status"]["queueDepth"], done["status"]["desiredReplicas"]) == (0, 0)
    assert "oldestJobAgeSeconds" not in done["status"]
    rescales = [event for event in kubectl.events("mailers") if "Rescale" in event]
    assert len(rescales) >= 2
    assert set(rescales) == {"Normal SuccessfulRescale"}
    # A pool of a fixed size: an autoscaler of Kubernetes writes spec.replicas, and the operator follows.
    await kubectl.wait("deployment", "fixed-worker", has(2))
    fixed = await kubectl.wait("workerpool", "fixed", lambda found: found["status"].get("desiredReplicas") == 2)
    assert fixed["spec"]["replicas"] == 2
    assert condition(fixed, "ScalingActive") == "False ScalingDisabled"
    assert fixed["status"]["queueDepth"] == 0
    columns = kubectl("get", "workerpool", "mailers").split("\n")
    assert dict(zip(columns[0].split(), columns[1].split(), strict=False))["DESIRED"] == "0"
    # Nothing is written for a pool at rest, while the operator works for another one on the same database.
    at_rest = await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")
    rest = at_rest["metadata"]["resourceVersion"]
    kubectl.create(workerpool("later", queue="third", replicas=0))
    await kubectl.wait("workerpool", "later", lambda found: "queueDepth" in found.get("status", {}))
    assert kubectl.get("workerpool", "mailers")["metadata"]["resourceVersion"] == rest


async def test_an_unknown_backlog_keeps_the_number(kubectl: Kubectl, operator: OperatorUnderTest) -> None:
    with postgres_server() as server:
        kubectl.create(secret(server.url()))
        kubectl.create(autoscaled("mailers", maxReplicas=2))
        async with await JobQueue.connect(server.url()) as queue:
            await queue.create_tables()
            batch_id = await queue.enqueue_batch(jobs(25))
        await kubectl.wait("deployment", "mailers-worker", has(2))
        await kubectl.wait("workerpool", "mailers", lambda found: found["status"].get("queueDepth") == 25)
        await asyncio.to_thread(server.stop, "immediate")
        away = await kubectl.wait(
            "workerpool", "mailers", lambda found: condition(found, "ScalingActive") == "False DatabaseUnavailable"
        )
        assert away["status"]["desiredReplicas"] == 2
        assert "queueDepth" not in away["status"]
        assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 2
        # Another operator begins with what is there.
        operator.stop()
        operator.start()
        kubectl.create(autoscaled("later", minReplicas=1))
        await kubectl.wait(
            "workerpool", "later", lambda found: condition(found, "ScalingActive") == "False DatabaseUnavailable"
        )
        assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 2
        await kubectl.wait("deployment", "later-worker", has(1))
        kubectl("delete", "workerpool", "later")
        await asyncio.to_thread(server.start)
        await kubectl.wait(
            "workerpool", "mailers", lambda found: condition(found, "ScalingActive") == "True ValidMetricFound"
        )
        assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 2
        # Without its Secret, too.
        kubectl("delete", "secret", "hammerwork-database")
        await kubectl.wait(
            "workerpool", "mailers", lambda found: condition(found, "ScalingActive") == "False SecretNotFound"
        )
        async with await JobQueue.connect(server.url()) as queue:
            await queue.cancel_batch(batch_id)
            kubectl("annotate", "workerpool", "mailers", "seen=1")
            assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 2
        kubectl.create(secret(server.url()))
        await kubectl.wait("deployment", "mailers-worker", has(0))
