"""A JobBatch as kubectl shows it, waits for it and deletes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import manifests
from tests.harness.kubectl import CommandError, lacks_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl


@pytest.fixture(scope="module")
def queue(kubectl: Kubectl) -> Iterator[str]:
    """A queue with a worker."""
    kubectl.apply(manifests.pool("plain", "record"))
    kubectl.wait_for("workerpool", "plain", lacks_condition("Ready"), seconds=60)
    yield "plain"
    kubectl.delete("workerpool", "plain")


def test_kubectl_waits_for_completion_and_shows_the_counts(kubectl: Kubectl, queue: str) -> None:
    kubectl.apply(manifests.batch("shown", 40, queue=queue, priority="High"))
    kubectl("wait", "--for=condition=Complete", "jobbatch/shown", "--timeout=60s", seconds=70)
    kubectl("wait", "--for=jsonpath={.status.completedJobs}=40", "jobbatch/shown", "--timeout=50s")
    header, row = kubectl("get", "jobbatches", "shown").splitlines()
    assert header.split() == ["NAME", "QUEUE", "STATUS", "PROGRESS", "TOTAL", "COMPLETED", "FAILED", "AGE"]
    assert row.split()[:-1] == ["shown", queue, "Completed", "100%", "40", "40", "0"]


def test_kubectl_explains_every_field(kubectl: Kubectl) -> None:
    said = kubectl("explain", "jobbatch.spec")
    for field in ("queue", "batchSize", "partialFailureMode", "generate", "jobs", "backoffLimit"):
        assert f"  {field}\t" in said
    assert "<no description>" not in kubectl("explain", "jobbatch", "--recursive=false")
    assert "<no description>" not in said


def test_a_batch_without_source_is_refused_with_a_clear_message(kubectl: Kubectl) -> None:
    batch = manifests.batch("sourceless", 1)
    del batch["spec"]["generate"]
    with pytest.raises(CommandError, match="exactly one of jobs, generate, configMapRefs and query"):
        kubectl.apply(batch)


def test_deleting_a_batch_leaves_no_row_of_it(kubectl: Kubectl, database: Database, queue: str) -> None:
    kubectl.apply(manifests.batch("deleted", 2_000, queue=queue, payload={"milliseconds": 5}))
    batch = kubectl.wait_for("jobbatch", "deleted", lacks_condition("Enqueued"), seconds=30)
    batch_id = batch["status"]["batchId"]
    before = database.rows_of(batch_id)
    assert before["hammerwork_batches"] == 1
    assert before["hammerwork_jobs"] == 2_000
    kubectl.delete("jobbatch", "deleted", seconds=60)
    after = database.rows_of(batch_id)
    assert after == dict.fromkeys(before, 0)
