"""Workers come and go while a batch runs."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e import manifests
from tests.harness.kubectl import completed_fewer_than, lacks_condition

if TYPE_CHECKING:
    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

JOBS = 4_000
BURST = 10_000


def test_scaling_down_during_a_batch_loses_and_repeats_nothing(kubectl: Kubectl, database: Database) -> None:
    kubectl.apply(manifests.pool("shrinking", "record", replicas=3))
    kubectl.wait_for("workerpool", "shrinking", lacks_condition("Ready"), seconds=60)
    kubectl.apply(manifests.batch("shrinking", JOBS, payload={"milliseconds": 20}))

    kubectl.wait_for("jobbatch", "shrinking", completed_fewer_than(JOBS // 10), seconds=60)
    kubectl("patch", "workerpool", "shrinking", "--type=merge", "--patch", '{"spec": {"replicas": 1}}')

    def pods_left(deployment: Manifest) -> str | None:
        replicas = deployment["status"].get("replicas", 0)
        return None if replicas == 1 else f"{replicas} Pods"

    kubectl.wait_for("deployment", "shrinking-worker", pods_left, seconds=30)
    batch = kubectl.wait_for("jobbatch", "shrinking", lacks_condition("Complete"), seconds=120)
    assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (JOBS, 0)
    runs = database.runs(batch["status"]["batchId"])
    assert Counter(run.index for run in runs) == dict.fromkeys(range(JOBS), 1)
    assert len({run.pod for run in runs}) == 3, "the Pods that went had not run anything"
    kubectl.delete("workerpool", "shrinking")


def test_a_burst_brings_workers_from_zero_and_they_go_again(kubectl: Kubectl, database: Database) -> None:
    rules = {
        "minReplicas": 0,
        "maxReplicas": 3,
        "targetJobsPerWorker": BURST // 4,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3}},
    }
    kubectl.apply(manifests.pool("bursting", "record", autoscaling=rules))
    at_zero = kubectl.wait_for("workerpool", "bursting", lacks_condition("ScalingActive"), seconds=60)
    kubectl.wait_for("workerpool", "bursting", lacks_condition("Ready"), seconds=30)
    assert at_zero["status"]["desiredReplicas"] == 0

    applied = time.time()
    kubectl.apply(manifests.batch("bursting", BURST, payload={"milliseconds": 20}))
    kubectl.wait_for("jobbatch", "bursting", completed_fewer_than(1), seconds=60)
    seen = time.time() - applied
    batch = kubectl.wait_for("jobbatch", "bursting", lacks_condition("Complete"), seconds=120)
    assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (BURST, 0)

    def not_at_rest(pool: Manifest) -> str | None:
        found = [pool["status"].get(name) for name in ("desiredReplicas", "replicas", "queueDepth", "jobsProcessed")]
        return None if found == [0, 0, 0, BURST] else f"desired, replicas, depth, processed: {found}"

    kubectl.wait_for("workerpool", "bursting", not_at_rest, seconds=60)
    batch_id = batch["status"]["batchId"]
    (row,) = database.query(
        f"SELECT extract(epoch FROM started_at) AS started FROM hammerwork_batches WHERE id = '{batch_id}'"
    )
    started = float(row["started"]) - applied
    print(f"{BURST:,} jobs for a pool at zero: the first began after {started:.1f} s, was seen done after {seen:.1f} s")
    runs = database.runs(batch_id)
    assert Counter(run.index for run in runs) == dict.fromkeys(range(BURST), 1)
    assert len({run.pod for run in runs}) > 1
    rescales = [event for event in kubectl.events("bursting") if "SuccessfulRescale" in event]
    assert len(rescales) >= 2
    kubectl.delete("workerpool", "bursting")
