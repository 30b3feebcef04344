"""Failed jobs of a JobBatch run again: by `spec.retry`, and by what others do in the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hammerwork import JobQueue
from hammerwork.selection import select
from tests.apiserver.barrier import retries_stop
from tests.apiserver.operator_process import OperatorUnderTest
from tests.apiserver.workers import worker
from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hammerwork import Job
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

SIX = [{"payload": n} for n in range(6)]


class Handler:
    """Counts the runs of each job; those in `failing` fail: even ones with ValueError, odd ones with KeyError."""

    def __init__(self, *failing: int) -> None:
        self.failing = set(failing)
        self.runs: Counter[int] = Counter()

    async def __call__(self, job: Job) -> None:
        self.runs[job.payload] += 1
        if job.payload in self.failing:
            raise ValueError("no") if job.payload % 2 == 0 else KeyError("no")


def ended(*, failed: int, attempt: int | None = None) -> Callable[[Manifest], bool]:
    """Whether the batch has ended with so many failed jobs, after the retry with this number."""

    def look(found: Manifest) -> bool:
        status = found.get("status", {})
        return (
            condition(found, "Complete").startswith("True")
            and status["failedJobs"] == failed
            and status.get("retryAttempt") == attempt
        )

    return look


def runs_again(found: Manifest) -> bool:
    return condition(found, "Complete") == "False Retrying"


def raise_to(kubectl: Kubectl, name: str, attempt: int, **chosen: Any) -> None:
    kubectl.patch("jobbatch", name, {"spec": {"retry": {"attempt": attempt, **chosen}}})


async def run(kubectl: Kubectl, url: str, name: str, handler: Handler, **spec: Any) -> Manifest:
    """Create a batch and have it run to its end."""
    kubectl.create(jobbatch(name, jobs=SIX, backoffLimit=0, **spec))
    async with worker(url, handler):
        return await kubectl.wait("jobbatch", name, lambda found: "completionTime" in found.get("status", {}))


def batch_id_of(found: Manifest) -> UUID:
    return UUID(found["status"]["batchId"])


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_each_raise_of_the_attempt_runs_the_chosen_failed_jobs_once(kubectl: Kubectl, with_database: str) -> None:
    handler = Handler(0, 1, 2)
    first = await run(kubectl, with_database, "raised", handler, retry={"attempt": 3})
    assert ended(failed=3, attempt=3)(first), "the number that it was created with asks for nothing"
    raise_to(kubectl, "raised", 4, errorTypes=["ValueError"], indexes="0-1,5")
    again = await kubectl.wait("jobbatch", "raised", runs_again)
    assert [condition(again, kind) for kind in ("Ready", "Succeeded")] == ["True Running", "-"]
    assert (again["status"]["retryAttempt"], again["status"]["pendingJobs"], again["status"]["failedJobs"]) == (4, 1, 2)
    assert "completionTime" not in again["status"]
    handler.failing.clear()
    async with worker(with_database, handler):
        await kubectl.wait("jobbatch", "raised", ended(failed=2, attempt=4))
        assert handler.runs == Counter({0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1})
        raise_to(kubectl, "raised", 5, errorTypes=["OSError"], indexes=None)
        await kubectl.wait("jobbatch", "raised", ended(failed=2, attempt=5))
        # Applied again by who finds it missing: the same run, and the higher number is a retry.
        kubectl.patch("jobbatch", "raised", {"spec": {"deletionPolicy": "Orphan"}})
        kubectl.delete("jobbatch", "raised")
        kubectl.create(jobbatch("raised", jobs=SIX, backoffLimit=0, retry={"attempt": 6}))
        done = await kubectl.wait("jobbatch", "raised", ended(failed=0, attempt=6))
    assert (condition(done, "Complete"), condition(done, "Succeeded")) == ("True Completed", "True Completed")
    assert handler.runs == Counter({0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1})
    events = await asyncio.to_thread(kubectl.events, "raised")
    assert [event for event in events if "etry" in event] == ["Normal Retrying", "Normal NothingToRetry"]
    refused: dict[str, dict[str, Any]] = {
        "attempt 5 is below 6, what it was, but it may only grow": {"attempt": 5},
        "9-5 ends before it begins": {"indexes": "1,9-5"},
        "spec.retry.indexes in body should match": {"indexes": "1-"},
    }
    for message, retry in refused.items():
        with pytest.raises(CommandError, match=message):
            kubectl.patch("jobbatch", "raised", {"spec": {"retry": {"attempt": 7, **retry}}})
    kubectl.patch("jobbatch", "raised", {"spec": {"retry": None}})


@pytest.mark.also_on("mariadb")
async def test_a_raise_is_followed_once_whoever_dies_and_whoever_helps(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str, tmp_path: Path
) -> None:
    """Killed in the transaction, after it, and between two slices of it; then two operators at once."""
    handler = Handler(0, 1)
    batch_id = batch_id_of(await run(kubectl, with_database, "mortal", handler))
    async with await JobQueue.connect(with_database) as queue:
        backend: Any = queue.backend

        # In the transaction: the server carries it out although nobody waits for the answer.
        async with retries_stop(with_database) as waiting:
            raise_to(kubectl, "mortal", 1)
            await eventually(waiting, lambda count: count == 1)
            operator.kill()
        operator.start()
        await kubectl.wait("jobbatch", "mortal", runs_again)
        async with worker(with_database, handler):
            await kubectl.wait("jobbatch", "mortal", ended(failed=2, attempt=1))
        assert handler.runs == Counter({0: 2, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1})

        # After it, before the status was written.
        operator.kill()
        raise_to(kubectl, "mortal", 2)
        assert await queue.retry_failed(batch_id, attempt=2) == 2
        async with worker(with_database, handler):
            await queue.wait(batch_id, timeout=30)
            operator.start()
            await kubectl.wait("jobbatch", "mortal", ended(failed=2, attempt=2))
        assert (handler.runs[0], handler.runs[1]) == (3, 3)

        # Between two slices.
        operator.kill()
        raise_to(kubectl, "mortal", 3, indexes="0")
        assert await backend.begin_retry(batch_id, select(None, "0"), 3) == 1
        operator.start()
        async with worker(with_database, handler):
            await kubectl.wait("jobbatch", "mortal", ended(failed=2, attempt=3))
        assert (handler.runs[0], handler.runs[1]) == (4, 3)

    other = OperatorUnderTest(tmp_path / "operator.kubeconfig", kubectl.namespace, tmp_path / "other.log")
    other.start()
    try:
        handler.failing.clear()
        async with worker(with_database, handler):
            raise_to(kubectl, "mortal", 4, indexes=None)
            await kubectl.wait("jobbatch", "mortal", ended(failed=0, attempt=4))
        assert handler.runs == Counter({0: 5, 1: 4, 2: 1, 3: 1, 4: 1, 5: 1})
    finally:
        other.stop()


async def test_a_raise_waits_for_the_end_and_a_failed_batch_is_retried_whole(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    kubectl.create(jobbatch("strict", jobs=SIX, partialFailureMode="FailFast", batchSize=1, suspend=True))
    await kubectl.wait("jobbatch", "strict", lambda found: condition(found, "Ready") == "True Suspended")
    kubectl.patch("jobbatch", "strict", {"spec": {"retry": {"attempt": 1}, "suspend": False}})
    handler = Handler(0)
    async with worker(with_database, handler):
        await eventually(lambda: asyncio.sleep(0, handler.runs[0]), lambda runs: runs >= 2)
        failed = await kubectl.wait(
            "jobbatch", "strict", lambda found: condition(found, "Failed") == "True JobFailed" and _attempt(found) == 1
        )
    assert failed["status"]["failedJobs"] == 1
    assert handler.runs[0] == 2, "it ran, it failed, and the raise that had come meanwhile ran it once more"
    handler.failing.clear()
    async with worker(with_database, handler):
        raise_to(kubectl, "strict", 2)
        done = await kubectl.wait("jobbatch", "strict", ended(failed=0, attempt=2))
    assert (done["status"]["completedJobs"], condition(done, "Failed")) == (6, "False Completed")

    kubectl.create(jobbatch("stopped", jobs=SIX, activeDeadlineSeconds=1))
    await kubectl.wait("jobbatch", "stopped", lambda found: "completionTime" in found.get("status", {}))
    raise_to(kubectl, "stopped", 1)
    told = await kubectl.wait("jobbatch", "stopped", lambda found: found["status"]["observedGeneration"] == 2)
    assert condition(told, "Failed").startswith("True ")
    assert "a cancelled batch cannot be retried" in told["status"]["conditions"][0]["message"]
    assert operator.running()


def _attempt(found: Manifest) -> int:
    return int(found["status"].get("retryAttempt", 0))


async def test_what_others_retry_is_followed_and_finished_objects_cost_no_write(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    handler = Handler(0, 1)
    before = await run(kubectl, with_database, "ours", handler)
    other = await run(kubectl, with_database, "other", Handler())
    async with await JobQueue.connect(with_database) as queue, worker(with_database, handler):
        handler.failing.discard(0)
        assert await queue.retry_failed(batch_id_of(before)) == 2
        await kubectl.wait("jobbatch", "ours", ended(failed=1))
        # The second end has an event of its own where the operator has seen that the batch ran.
        events = await eventually(
            lambda: asyncio.to_thread(kubectl.events, "ours"),
            lambda seen: "Normal Retrying" in seen,
            within=60,
            tell=lambda seen: f"events of ours: {seen}",
        )
        assert events[:3] == ["Normal Enqueued", "Warning CompletedWithErrors", "Normal Retrying"]
        # While no operator is there.
        operator.stop()
        handler.failing.clear()
        assert await queue.retry_failed(batch_id_of(before)) == 1
        operator.start()
        done = await kubectl.wait("jobbatch", "ours", ended(failed=0))
        assert condition(done, "Succeeded") == "True Completed"
    assert kubectl.get("jobbatch", "other")["metadata"]["resourceVersion"] == other["metadata"]["resourceVersion"]
    _, metrics = operator.fetch("/metrics")
    (writes,) = [line for line in metrics.splitlines() if line.startswith("hammerwork_operator_status_writes_total")]
    assert writes.endswith(" 1.0"), "one for the batch that was retried, none for the other"
