"""Jobs that are lines for processes that stay, on a real queue: no job is lost, whatever becomes of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork import Job, JobBatch, JobQueue, JobStatus, PartialFailureMode, Worker
from hammerwork.handlers import StreamHandler
from tests.harness.batches import AT_ONCE
from tests.harness.observing import all_jobs, comes_to, finished, running
from tests.harness.streamed import COMMAND

if TYPE_CHECKING:
    import pytest

FINAL = {"message": "no", "type": "OutOfStock", "retry": False}


def jobs(*payloads: dict[str, Any]) -> JobBatch:
    batch = JobBatch("lines").with_jobs(Job("q", payload) for payload in payloads)
    return batch.with_retry_policy(AT_ONCE).with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)


async def test_jobs_of_processes_that_die_or_say_no_are_retried_or_fail(queue: JobQueue) -> None:
    payloads: list[dict[str, Any]] = [{"do": "pid"}] * 300 + [{"do": "die once"}] * 2
    payloads += [{"do": "fail", "error": FINAL}, {"do": "kill"}]
    batch_id = await queue.enqueue_batch(jobs(*payloads).with_max_attempts(20).with_batch_size(20))
    handler = StreamHandler(COMMAND, processes=2)
    async with running(Worker(queue, "q", handler).with_concurrency(8)):
        # Only the one that kills its process at each attempt is left, or has failed at last.
        await comes_to(queue, batch_id, lambda status: status.completed_jobs == 302 and status.failed_jobs)
        await queue.cancel_batch(batch_id)
        await finished(queue, batch_id)
    *completed, refused, deadly = await all_jobs(queue, batch_id)
    assert {job.status for job in completed} == {JobStatus.COMPLETED}
    assert (refused.status, refused.error and refused.error.type) == (JobStatus.FAILED, "OutOfStock")
    assert deadly.error is not None
    assert "ended by signal 9 (SIGKILL), before the outcome of the job" in deadly.error.message


async def test_a_process_that_answers_nothing_is_bounded_by_the_jobs_time(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hammerwork.handlers.lines.COMMAND_END_SECONDS", 0.4)
    hanging = await queue.enqueue_batch(jobs({"do": "hang"}).with_max_attempts(2).with_timeout(0.5))
    others = await queue.enqueue_batch(jobs(*[{"do": "pid"}] * 20).with_max_attempts(2))
    async with running(Worker(queue, "q", StreamHandler(COMMAND)).with_concurrency(1)):
        assert (await finished(queue, hanging)).failed_jobs == 1
        assert (await finished(queue, others)).completed_jobs == 20
    (failed,) = await all_jobs(queue, hanging, JobStatus.FAILED)
    assert failed.error is not None
    assert (failed.index, failed.attempts, failed.error.message) == (0, 2, "the job ran longer than 0.5 s")


async def test_a_worker_that_stops_returns_the_jobs_in_flight(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(jobs(*[{"do": "hold"}] * 4))
    worker = Worker(queue, "q", StreamHandler(COMMAND)).with_concurrency(2).with_shutdown_grace_period(0.1)
    async with running(worker):
        await comes_to(queue, batch_id, lambda _: worker.busy_lanes == 2)
    status = await comes_to(queue, batch_id, lambda status: status.running_jobs == 0)
    assert (status.pending_jobs, status.failed_jobs) == (4, 0)
