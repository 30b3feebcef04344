"""Progress and listings: what is told of a batch is exact at every instant."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchNotFoundError,
    BatchState,
    Job,
    JobBatch,
    JobFailedError,
    JobStatus,
    PartialFailureMode,
    Priority,
    RetryPolicy,
    RetryStrategy,
    Worker,
)
from tests.harness import batches
from tests.harness.batches import AT_ONCE, numbered
from tests.harness.observing import all_jobs, eventually, finished, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from uuid import UUID

    from hammerwork import BatchStatus, JobQueue
    from tests.harness.observing import Sql

batch = functools.partial(batches.batch, payload=numbered)
pytestmark = pytest.mark.every_server

MUCH_LATER = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=3_600, max_seconds=3_600)


def counts(status: BatchStatus) -> tuple[int, int, int, int, int]:
    return (
        status.pending_jobs,
        status.running_jobs,
        status.completed_jobs,
        status.failed_jobs,
        status.cancelled_jobs,
    )


def check(status: BatchStatus) -> None:
    done = status.completed_jobs + status.failed_jobs + status.cancelled_jobs
    assert status.total_jobs == done + status.pending_jobs, status
    assert 0 <= status.running_jobs <= status.pending_jobs, status
    assert min(counts(status)) >= 0, status


@pytest.mark.parametrize("ending", ["drain", "cancel"])
async def test_the_counts_add_up_at_every_instant_while_workers_run(queue: JobQueue, ending: str) -> None:
    batch_id = await queue.enqueue_batch(batch(4_000).with_batch_size(17).with_retry_policy(AT_ONCE))
    enough_seen = asyncio.Event()

    async def handler(job: Job) -> None:
        await asyncio.sleep(0.001)
        if job.payload["n"] >= 3_000:
            await enough_seen.wait()
        if job.payload["n"] % 7 == job.attempt:
            raise ValueError("seven")
        if job.payload["n"] % 97 == 0:
            raise JobFailedError("for good")

    looks = 0
    before = await queue.get_batch_status(batch_id)
    async with running(*(Worker(queue, "q", handler).with_concurrency(20) for _ in range(2))):
        while not (status := await queue.get_batch_status(batch_id)).finished:
            check(status)
            assert status.completed_jobs >= before.completed_jobs
            assert status.failed_jobs >= before.failed_jobs
            before = status
            looks += 1
            if ending == "cancel" and status.completed_jobs > 1_000:
                check(status := await queue.cancel_batch(batch_id))
            if looks > 5 and (ending == "drain" or status.cancelled_jobs > 0):
                enough_seen.set()
            await asyncio.sleep(0)
    check(status)
    assert (status.pending_jobs, status.running_jobs) == (0, 0)
    if ending == "drain":
        assert counts(status) == (0, 0, 4_000 - 42, 42, 0)
        assert status.state is BatchState.COMPLETED_WITH_ERRORS
    else:
        assert status.state is BatchState.CANCELLED
    found = Counter(job.status for job in await all_jobs(queue, batch_id))
    assert found[JobStatus.COMPLETED] == status.completed_jobs
    assert found[JobStatus.FAILED] == status.failed_jobs
    assert found[JobStatus.CANCELLED] == status.cancelled_jobs
    assert sum(found.values()) == 4_000


async def test_a_batch_goes_from_loading_over_pending_and_running_to_completed(queue: JobQueue) -> None:
    states: list[BatchState] = []
    batch_id = uuid.uuid4()

    async def look(_stored: int = 0) -> BatchStatus:
        status = await queue.get_batch_status(batch_id)
        states.append(status.state)
        return status

    await queue.enqueue_stream(JobBatch("mail", queue="q"), batch(2).jobs, batch_id=batch_id, progress=look)  # type: ignore[arg-type]
    status = await look()
    assert (status.started_at, status.finished_at) == (None, None)
    gate = asyncio.Event()

    async def handler(_job: Job) -> None:
        await gate.wait()

    async with running(Worker(queue, "q", handler)):
        await eventually(look, lambda status: status.running_jobs == 2)
        gate.set()
        status = await finished(queue, batch_id)
    assert list(dict.fromkeys([*states, status.state])) == [
        BatchState.LOADING,
        BatchState.PENDING,
        BatchState.RUNNING,
        BatchState.COMPLETED,
    ]
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.created_at <= status.started_at <= status.finished_at


async def test_unknown_batches_are_told(queue: JobQueue) -> None:
    unknown = uuid.uuid4()
    known = await queue.enqueue_batch(batch(1))
    for ask in (
        queue.get_batch_status,
        queue.get_batch_jobs,
        queue.cancel_batch,
        queue.suspend_batch,
        queue.resume_batch,
        queue.retry_failed,
    ):
        with pytest.raises(BatchNotFoundError, match=f"batch {unknown}: not found"):
            await ask(unknown)
    assert not await queue.delete_batch(unknown)
    assert list(await queue.get_batch_statuses([unknown, known])) == [known]


async def test_what_a_batch_keeps_of_its_errors_is_bounded(queue: JobQueue, sql: Sql) -> None:
    """Of 10,000 failures everything; of the others the last of each job, without a traceback."""
    jobs = 6_000
    batch_id = await queue.enqueue_batch(
        batch(jobs)
        .with_batch_size(1_000)
        .with_max_attempts(3)
        .with_retry_policy(AT_ONCE)
        .with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
    )
    worker = SteeredWorker(queue)
    await worker.register()
    while held := await worker.claim():
        await worker.end(held, failing=held.claim.indexes)
    status = await queue.get_batch_status(batch_id)
    assert (status.finished, status.failed_jobs) == (True, jobs)
    assert await sql.value("SELECT count(*) FROM hammerwork_failures WHERE traceback IS NOT NULL") == 10_000
    assert await sql.value("SELECT count(*) FROM hammerwork_failures WHERE NOT final") == 10_000
    assert await sql.value("SELECT count(*) FROM hammerwork_failures WHERE final") == jobs
    last = (await queue.get_batch_jobs(batch_id, after=jobs - 2))[0]
    assert last.error is not None
    assert (last.error.type, last.error.attempt, last.error.traceback) == ("ValueError", 3, None)


async def test_every_status_of_a_job_is_listed(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(
        batch(8).with_retry_policy(MUCH_LATER).with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
    )
    worker = SteeredWorker(queue)
    held = await worker.take(4)
    held.complete(held.start())
    held.fail(held.start(), JobFailedError("for good"))
    held.fail(held.start(), ValueError("again"))
    last = held.start()
    await worker.report(held)

    async def look() -> list[str]:
        return [job.status.value for job in await all_jobs(queue, batch_id)]

    assert await look() == ["Completed", "Failed", "Scheduled", "Running", *["Pending"] * 4]
    for status, indexes in {
        JobStatus.COMPLETED: [0],
        JobStatus.FAILED: [1],
        JobStatus.SCHEDULED: [2],
        JobStatus.RUNNING: [3],
        JobStatus.PENDING: [4, 5, 6, 7],
        JobStatus.CANCELLED: [],
    }.items():
        assert [job.index for job in await all_jobs(queue, batch_id, status)] == indexes, status
    jobs = await all_jobs(queue, batch_id)
    assert [job.attempts for job in jobs] == [1, 1, 1, 1, 0, 0, 0, 0]
    assert [job.error and job.error.type for job in jobs[:4]] == [None, "JobFailedError", "ValueError", None]
    assert counts(await queue.get_batch_status(batch_id)) == (6, 1, 1, 1, 0)
    depth = (await queue.get_queue_depths())["q"]
    assert (depth.ready, depth.scheduled, depth.running) == (4, 1, 1)
    assert depth.next_scheduled_seconds is not None
    assert MUCH_LATER.initial_seconds * 0.8 < depth.next_scheduled_seconds <= MUCH_LATER.max_seconds
    await queue.suspend_batch(batch_id)
    assert (await queue.get_queue_depths())["q"].next_scheduled_seconds is None
    await queue.resume_batch(batch_id)

    await queue.cancel_batch(batch_id)
    assert await look() == ["Completed", "Failed", "Cancelled", "Running", *["Cancelled"] * 4]
    assert counts(await queue.get_batch_status(batch_id)) == (1, 1, 1, 1, 5)
    assert [job.index for job in await all_jobs(queue, batch_id, JobStatus.CANCELLED)] == [2, 4, 5, 6, 7]
    held.complete(last)
    await worker.report(held)
    assert await look() == ["Completed", "Failed", "Cancelled", "Completed", *["Cancelled"] * 4]
    ended = await queue.get_batch_status(batch_id)
    assert (counts(ended), ended.finished) == ((0, 0, 2, 1, 5), True)


async def test_pages_are_complete_and_do_not_overlap(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(2_345))
    seen: list[int] = []
    while page := await queue.get_batch_jobs(batch_id, after=seen[-1] if seen else -1, limit=100):
        assert len(page) == min(100, 2_345 - len(seen))
        seen += [job.index for job in page]
    assert seen == list(range(2_345))


async def test_pages_of_one_status_are_complete(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(3_000).with_max_attempts(1))

    async def handler(job: Job) -> None:
        if job.index % 10 == 3:
            raise ValueError(f"three of {job.index}")

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    for status, wanted in {
        JobStatus.FAILED: [n for n in range(3_000) if n % 10 == 3],
        JobStatus.COMPLETED: [n for n in range(3_000) if n % 10 != 3],
        JobStatus.PENDING: [],
    }.items():
        seen: list[int] = []
        while page := await queue.get_batch_jobs(batch_id, status=status, after=seen[-1] if seen else -1, limit=77):
            assert all(job.status is status for job in page)
            seen += [job.index for job in page]
        assert seen == wanted


@pytest.mark.parametrize("limit", [0, 10_001])
async def test_a_page_has_1_to_10_000_jobs(queue: JobQueue, limit: int) -> None:
    batch_id = await queue.enqueue_batch(batch(1))
    with pytest.raises(ValueError, match=f"limit {limit} must be 1 to 10,000"):
        await queue.get_batch_jobs(batch_id, limit=limit)


async def test_listed_jobs_have_their_priorities(queue: JobQueue) -> None:
    jobs = [Job("q", n, Priority(n % 5)) for n in range(12_000)]
    batch_id = await queue.enqueue_stream(JobBatch("mixed", queue="q"), jobs)
    listed = await all_jobs(queue, batch_id)
    assert all(job.priority == job.payload % 5 for job in listed)
    assert Counter(job.priority for job in listed) == dict.fromkeys(Priority, 2_400)


async def test_errors_are_grouped_by_type_with_a_sample(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(60).with_max_attempts(1))

    async def handler(job: Job) -> None:
        if job.index % 3 == 0:
            raise ValueError(f"value {job.index}")
        if job.index % 10 == 1:
            raise KeyError(f"key {job.index}")

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    first, second = await queue.get_batch_errors(batch_id)
    assert (first.type, first.count, first.index, first.message) == ("ValueError", 20, 0, "value 0")
    assert (second.type, second.count, second.index, second.message) == ("KeyError", 4, 1, "'key 1'")
    assert [group.type for group in await queue.get_batch_errors(batch_id, limit=1)] == ["ValueError"]


async def test_depths_count_what_can_be_claimed(queue: JobQueue) -> None:
    assert await queue.get_queue_depths() == {}
    first = await queue.enqueue_batch(batch(30))
    await queue.enqueue_batch(batch(5).with_suspended())
    await queue.enqueue_batch(JobBatch("sms").with_jobs([Job("other", 1)]))
    depths = await queue.get_queue_depths()
    assert {name: depth.ready for name, depth in depths.items()} == {"q": 30, "other": 1}
    assert depths["q"].oldest_ready_seconds is not None
    assert depths["q"].oldest_ready_seconds >= 0
    await queue.suspend_batch(first)
    assert (await queue.get_queue_depths())["q"].ready == 0
    assert (await queue.get_queue_depths())["q"].oldest_ready_seconds is None
    await queue.resume_batch(first)
    depth = (await queue.get_queue_depths())["q"]
    assert (depth.ready, depth.next_scheduled_seconds, depth.paused) == (30, None, False)
    await queue.pause_queue("q")
    assert {name: depth.paused for name, depth in (await queue.get_queue_depths()).items()} == {
        "q": True,
        "other": False,
    }
    await queue.resume_queue("q")
    await queue.cancel_batch(first)
    assert (await queue.get_queue_depths())["q"].ready == 0


async def test_statistics_of_a_queue_and_its_workers(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(40).with_max_attempts(1))

    async def handler(job: Job) -> None:
        await asyncio.sleep(0.001)
        if job.index < 10:
            raise ValueError("no")

    worker = Worker(queue, "q", handler, pool="mailers")
    async with running(worker):
        await finished(queue, batch_id)
        (info,) = await queue.get_workers("q")
        assert (info.id, info.pool, info.lanes) == (worker.id, "mailers", 10)
    statistics = await queue.get_queue_statistics("q")
    assert (statistics.total_processed, statistics.failed, statistics.error_rate) == (40, 10, 0.25)
    assert (statistics.batches, statistics.average_batch_size) == (1, 40)
    assert statistics.average_processing_time_ms >= 1
    (activity,) = (await queue.get_queue_activities(["q", "other"])).values()
    assert (activity.queue, activity.total_processed, activity.failed) == ("q", 40, 10)
    assert activity.average_processing_time_ms == statistics.average_processing_time_ms
    assert await queue.get_queue_activities([]) == {}
    assert await queue.get_workers("q") == [], "a worker that has stopped is not listed"


async def test_failed_jobs_can_be_run_again(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(2_500).with_max_attempts(1))
    broken = True
    ran: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        ran[job.index] += 1
        if broken and job.index % 5 == 0:
            raise ValueError("no")

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
        assert counts(status) == (0, 0, 2_000, 500, 0)
        broken = False
        assert await queue.retry_failed(batch_id) == 500
        check(await queue.get_batch_status(batch_id))
        status = await finished(queue, batch_id)
    assert counts(status) == (0, 0, 2_500, 0, 0)
    assert status.state is BatchState.COMPLETED
    assert ran == {n: 2 if n % 5 == 0 else 1 for n in range(2_500)}
    assert await queue.get_batch_errors(batch_id) == []


async def test_a_failed_batch_can_be_run_to_its_end(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(
        batch(3_000).with_batch_size(50).with_partial_failure_handling(PartialFailureMode.FAIL_FAST)
    )
    broken = True
    completed: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        if broken and job.index == 700:
            raise ValueError("no")
        completed[job.index] += 1

    async with running(Worker(queue, "q", handler), Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
        assert (status.state, status.failed_jobs) == (BatchState.FAILED, 1)
        broken = False
        assert await queue.retry_failed(batch_id) == 3_000 - status.completed_jobs
        status = await finished(queue, batch_id)
    assert counts(status) == (0, 0, 3_000, 0, 0)
    assert status.state is BatchState.COMPLETED
    assert completed == dict.fromkeys(range(3_000), 1)


async def test_a_paused_queue_starts_nothing(queue: JobQueue) -> None:
    await queue.pause_queue("q")
    batch_id: UUID = await queue.enqueue_batch(batch(20))
    other = await queue.enqueue_batch(JobBatch("sms").with_jobs([Job("other", 1)]))
    ran: list[str] = []

    async def handler(job: Job) -> None:
        ran.append(job.queue)

    async with running(Worker(queue, "q", handler), Worker(queue, "other", handler)):
        await finished(queue, other)
        assert ran == ["other"]
        await queue.resume_queue("q")
        await finished(queue, batch_id)
        await happens(lambda: len(ran) == 21)
