"""Workers come and go while a batch runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e import manifests
from tests.harness.kubectl import completed_fewer_than, lacks_condition

if TYPE_CHECKING:
    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

JOBS = 4_000


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
