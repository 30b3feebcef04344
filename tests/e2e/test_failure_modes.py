"""What the failure of jobs means for their batch, in each of the three modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import manifests
from tests.harness.kubectl import conditions, lacks_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

NO_PAUSE = {"strategy": "Fixed", "initialSeconds": 0, "maxSeconds": 0}


@pytest.fixture(scope="module")
def queue(kubectl: Kubectl) -> Iterator[str]:
    """A queue whose worker fails each job whose index ends in 3, and job 50."""
    kubectl.apply(manifests.pool("failing", "fail_some"))
    kubectl.wait_for("workerpool", "failing", lacks_condition("Ready"), seconds=60)
    yield "failing"
    kubectl.delete("workerpool", "failing")


def test_continue_on_error_completes_the_others_and_keeps_the_last_error(
    kubectl: Kubectl, database: Database, queue: str
) -> None:
    kubectl.apply(manifests.batch("continue", 100, queue=queue, backoffLimit=1, retryPolicy=NO_PAUSE))
    batch = kubectl.wait_for("jobbatch", "continue", lacks_condition("Complete"), seconds=60)
    status = batch["status"]
    assert (status["totalJobs"], status["completedJobs"], status["failedJobs"]) == (100, 89, 11)
    assert (status["progress"], status["successRate"]) == ("100%", "89.0%")
    assert [(group["type"], group["count"]) for group in status["errors"]] == [("ValueError", 10), ("LookupError", 1)]
    found = conditions(batch)
    assert found["Complete"]["reason"] == "CompletedWithErrors"
    assert (found["Ready"]["status"], found["Reconciling"]["status"]) == ("True", "False")
    assert found["Stalled"]["status"] == "False"
    assert len(database.runs(status["batchId"])) == 89 + 2 * 11


def test_collect_errors_keeps_the_error_of_every_attempt(kubectl: Kubectl, queue: str) -> None:
    batch = manifests.batch("collect", 100, queue=queue, backoffLimit=2, retryPolicy=NO_PAUSE)
    batch["spec"]["partialFailureMode"] = "CollectErrors"
    kubectl.apply(batch)
    batch = kubectl.wait_for("jobbatch", "collect", lacks_condition("Complete"), seconds=60)
    status = batch["status"]
    assert (status["completedJobs"], status["failedJobs"]) == (89, 11)
    values, lookups = status["errors"]
    assert (values["type"], values["count"]) == ("ValueError", 30)
    assert values["message"].startswith("no such address: user")
    assert values["index"] % 10 == 3
    assert lookups == {"type": "LookupError", "count": 3, "index": 50, "message": "nobody has the number 50"}
    assert conditions(batch)["Complete"]["reason"] == "CompletedWithErrors"


def test_fail_fast_stops_at_the_first_job_that_fails_for_good(kubectl: Kubectl, database: Database, queue: str) -> None:
    batch = manifests.batch("fast", 5_000, queue=queue, payload={"milliseconds": 20}, batchSize=10)
    batch["spec"]["partialFailureMode"] = "FailFast"
    kubectl.apply(batch)
    batch = kubectl.wait_for("jobbatch", "fast", lacks_condition("Failed"), seconds=60)
    found = conditions(batch)
    assert found["Failed"]["reason"] == "JobFailed"
    assert (found["Ready"]["status"], found["Stalled"]["status"]) == ("False", "True")
    assert found.get("Complete", {}).get("status") != "True"

    def unfinished(batch: Manifest) -> str | None:
        pending = batch["status"]["pendingJobs"]
        return f"{pending} jobs pending" if pending else None

    status = kubectl.wait_for("jobbatch", "fast", unfinished, seconds=60)["status"]
    assert status["failedJobs"] >= 1
    # Ten lanes do some 100 jobs between the failure and the moment when every lane has heard of it.
    assert status["cancelledJobs"] > 4_000
    assert status["completedJobs"] + status["failedJobs"] + status["cancelledJobs"] == 5_000
    runs = database.runs(status["batchId"])
    assert len(runs) == len({run.index for run in runs}) == status["completedJobs"] + status["failedJobs"]
