"""What becomes of jobs that fail: the failure modes of their batch, and retries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobFailedError,
    JobQueue,
    JobStatus,
    PartialFailureMode,
    RetryPolicy,
    RetryStrategy,
    Worker,
)
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs, failing_at
from tests.harness.observing import all_jobs, comes_to, finished, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from tests.harness.observing import Sql

SOON = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0.2, max_seconds=1, jitter=0)


@pytest.mark.every_server
async def test_continue_on_error_keeps_the_last_error_of_each_failed_job(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(20).with_max_attempts(3))
    runs = failing_at(3, 8)
    async with running(Worker(queue, "q", runs)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 18, 2)
    assert runs.started == {n: 3 if n in {3, 8} else 1 for n in range(20)}
    failed = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert [(job.index, job.attempts) for job in failed] == [(3, 3), (8, 3)]
    assert failed[0].error is not None
    assert (failed[0].error.message, failed[0].error.traceback) == ("job 3, attempt 3", None)
    (group,) = await queue.get_batch_errors(batch_id)
    assert (group.type, group.count) == ("ValueError", 2)


@pytest.mark.every_server
async def test_collect_errors_keeps_the_error_of_every_attempt_with_its_traceback(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(5, PartialFailureMode.COLLECT_ERRORS).with_max_attempts(3))
    async with running(Worker(queue, "q", failing_at(2))):
        await finished(queue, batch_id)
    (group,) = await queue.get_batch_errors(batch_id)
    assert (group.type, group.count, group.message) == ("ValueError", 3, "job 2, attempt 1")
    rows = await sql.rows("SELECT idx, attempt, final, message, traceback FROM hammerwork_failures ORDER BY attempt")
    assert [row[:4] for row in rows] == [(2, n, n == 3, f"job 2, attempt {n}") for n in (1, 2, 3)]
    assert all("in failing_at" in row[4] or "in then" in row[4] for row in rows)


@pytest.mark.every_server
async def test_fail_fast_fails_the_batch_and_cancels_the_rest(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(3_000, PartialFailureMode.FAIL_FAST).with_batch_size(10))
    runs = failing_at(25)
    async with running(Worker(queue, "q", runs).with_concurrency(1)):
        status = await finished(queue, batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.FAILED, 1)
    assert runs.started[25] == 1, "no retries unless asked for"
    assert status.completed_jobs == runs.ended.total()
    assert status.cancelled_jobs == 3_000 - 1 - status.completed_jobs
    assert runs.started.total() < 100


async def test_fail_fast_lets_running_jobs_finish_and_counts_them(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(50, PartialFailureMode.FAIL_FAST))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index == 2:
            await happens(lambda: runs.now == 5)
            raise ValueError("no")
        await gate.wait()

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):
        status = await comes_to(queue, batch_id, lambda status: status.state is BatchState.FAILED)
        assert not status.finished
        assert (status.failed_jobs, status.running_jobs, status.cancelled_jobs) == (1, 4, 45)
        gate.set()
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.FAILED, 4, 1)
    assert sorted(runs.started) == [0, 1, 2, 3, 4]


async def test_fail_fast_stops_other_workers_within_seconds(queue: JobQueue, database_url: str) -> None:
    """The other worker holds a claim of many jobs, since they were quick until then."""
    batch_id = await queue.enqueue_batch(retried_at_once(3_000, PartialFailureMode.FAIL_FAST).with_batch_size(1_000))
    slow = asyncio.Event()

    async def then(_job: Job) -> None:
        if slow.is_set():
            await asyncio.sleep(0.05)

    runs = Runs(then)
    async with await JobQueue.connect(database_url) as other:
        failing = SteeredWorker(other)
        await failing.register()
        held = await failing.take(1)
        async with running(Worker(queue, "q", runs).with_concurrency(1)):
            await happens(lambda: runs.started.total() > 500)
            slow.set()
            await failing.end(held, failing=[held.claim.indexes[0]], error=JobFailedError("no"))
            started = runs.started.total()
            status = await finished(queue, batch_id)
    assert status.state is BatchState.FAILED
    assert status.completed_jobs == runs.ended.total()
    # 20 a second: of the 500 and more in the other worker's hands, those of about one second.
    assert runs.started.total() - started < 250


async def test_fail_fast_fails_a_batch_with_its_last_job_too(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(30, PartialFailureMode.FAIL_FAST))
    async with running(Worker(queue, "q", failing_at(29)).with_concurrency(1)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs, status.cancelled_jobs) == (
        BatchState.FAILED,
        29,
        1,
        0,
    )


@pytest.mark.every_server
async def test_fail_fast_with_retries_tries_again_before_it_goes_on(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(200, PartialFailureMode.FAIL_FAST).with_max_attempts(3))
    runs = failing_at(0)
    async with running(Worker(queue, "q", runs).with_concurrency(1)):
        status = await finished(queue, batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.FAILED, 1)
    assert runs.started[0] == 3
    assert runs.started.total() <= 10, f"ran {runs.order} before the job that fails was tried to its end"


async def test_a_job_fails_for_good_when_its_handler_says_so(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(5).with_max_attempts(10))
    runs = failing_at(1, error=JobFailedError)
    async with running(Worker(queue, "q", runs)):
        status = await finished(queue, batch_id)
    assert status.failed_jobs == 1
    assert runs.started == dict.fromkeys(range(5), 1)


@pytest.mark.parametrize(
    ("strategy", "pauses"),
    [
        (RetryStrategy.FIXED, [0.2, 0.2, 0.2]),
        (RetryStrategy.LINEAR, [0.2, 0.4, 0.6]),
        (RetryStrategy.EXPONENTIAL, [0.2, 0.4, 0.8]),
    ],
)
async def test_an_attempt_waits_for_its_pause(
    queue: JobQueue, sql: Sql, strategy: RetryStrategy, pauses: list[float]
) -> None:
    policy = RetryPolicy(strategy=strategy, initial_seconds=0.2, max_seconds=5, jitter=0)
    batch_id = await queue.enqueue_batch(
        retried_at_once(1, PartialFailureMode.COLLECT_ERRORS).with_max_attempts(4).with_retry_policy(policy)
    )
    seen: list[tuple[int, int]] = []
    starts: list[float] = []

    async def handler(job: Job) -> None:
        starts.append(await sql.seconds())
        seen.append((job.attempt, job.max_attempts))
        raise ValueError("no")

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert status.failed_jobs == 1
    for n, pause in enumerate(pauses):
        assert starts[n + 1] - starts[n] >= pause


@pytest.mark.every_server
async def test_a_job_that_succeeds_at_last_is_completed(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(300).with_max_attempts(3).with_retry_policy(SOON))

    async def handler(job: Job) -> None:
        if job.attempt < 1 + job.index % 3:
            raise ValueError("not yet")

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 300)
