"""Workers: what runs, how often, in which order, and what becomes of jobs that fail, hang or outlast a stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobBatch,
    JobFailedError,
    JobQueue,
    JobStatus,
    PartialFailureMode,
    Priority,
    RetryPolicy,
    RetryStrategy,
    Worker,
    WorkerPool,
    batch_handler,
)
from hammerwork.pump import FEW_JOBS
from tests.harness import batches
from tests.harness.batches import AT_ONCE
from tests.harness.handlers import Runs, failing_at
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, eventually, finished, happens, only_postgres, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork import BatchStatus
    from tests.harness.observing import Sql

batch = functools.partial(batches.batch, retry=AT_ONCE)
SOON = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0.2, max_seconds=1, jitter=0)


# -- failure modes


@pytest.mark.every_server
async def test_continue_on_error_keeps_the_last_error_of_each_failed_job(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(20).with_max_attempts(3))
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
    batch_id = await queue.enqueue_batch(batch(5, PartialFailureMode.COLLECT_ERRORS).with_max_attempts(3))
    async with running(Worker(queue, "q", failing_at(2))):
        await finished(queue, batch_id)
    (group,) = await queue.get_batch_errors(batch_id)
    assert (group.type, group.count, group.message) == ("ValueError", 3, "job 2, attempt 1")
    rows = await sql.rows("SELECT idx, attempt, final, message, traceback FROM hammerwork_failures ORDER BY attempt")
    assert [row[:4] for row in rows] == [(2, n, n == 3, f"job 2, attempt {n}") for n in (1, 2, 3)]
    assert all("in failing_at" in row[4] or "in then" in row[4] for row in rows)


@pytest.mark.every_server
async def test_fail_fast_fails_the_batch_and_cancels_the_rest(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(3_000, PartialFailureMode.FAIL_FAST).with_batch_size(10))
    runs = failing_at(25)
    async with running(Worker(queue, "q", runs).with_concurrency(1)):
        status = await finished(queue, batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.FAILED, 1)
    assert runs.started[25] == 1, "no retries unless asked for"
    assert status.completed_jobs == runs.ended.total()
    assert status.cancelled_jobs == 3_000 - 1 - status.completed_jobs
    assert runs.started.total() < 100


async def test_fail_fast_lets_running_jobs_finish_and_counts_them(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(50, PartialFailureMode.FAIL_FAST))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index == 2:
            await happens(lambda: runs.now == 5)
            raise ValueError("no")
        await gate.wait()

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):

        async def look() -> BatchStatus:
            return await queue.get_batch_status(batch_id)

        status = await eventually(look, lambda status: status.state is BatchState.FAILED)
        assert not status.finished
        assert (status.failed_jobs, status.running_jobs, status.cancelled_jobs) == (1, 4, 45)
        gate.set()
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.FAILED, 4, 1)
    assert sorted(runs.started) == [0, 1, 2, 3, 4]


async def test_fail_fast_stops_other_workers_within_seconds(queue: JobQueue, database_url: str) -> None:
    """The other worker holds a claim of many jobs, since they were quick until then."""
    batch_id = await queue.enqueue_batch(batch(3_000, PartialFailureMode.FAIL_FAST).with_batch_size(1_000))
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
    # 20 a second: of the jobs in the other worker's hands, those of about one second.
    assert runs.started.total() - started < 70


async def test_fail_fast_fails_a_batch_with_its_last_job_too(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(30, PartialFailureMode.FAIL_FAST))
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
    batch_id = await queue.enqueue_batch(batch(200, PartialFailureMode.FAIL_FAST).with_max_attempts(3))
    runs = failing_at(0)
    async with running(Worker(queue, "q", runs).with_concurrency(1)):
        status = await finished(queue, batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.FAILED, 1)
    assert runs.started[0] == 3
    assert runs.started.total() <= 10, f"ran {runs.order} before the job that fails was tried to its end"


async def test_a_job_fails_for_good_when_its_handler_says_so(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(5).with_max_attempts(10))
    runs = failing_at(1, error=JobFailedError)
    async with running(Worker(queue, "q", runs)):
        status = await finished(queue, batch_id)
    assert status.failed_jobs == 1
    assert runs.started == dict.fromkeys(range(5), 1)


# -- retries


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
        batch(1, PartialFailureMode.COLLECT_ERRORS).with_max_attempts(4).with_retry_policy(policy)
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
    batch_id = await queue.enqueue_batch(batch(300).with_max_attempts(3).with_retry_policy(SOON))

    async def handler(job: Job) -> None:
        if job.attempt < 1 + job.index % 3:
            raise ValueError("not yet")

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 300)


# -- order and limits


@pytest.mark.every_server
async def test_higher_priorities_run_first_across_batches(queue: JobQueue) -> None:
    seen: list[tuple[str, Priority]] = []
    names = {}
    for name, priority in [("a", Priority.LOW), ("b", Priority.CRITICAL), ("c", Priority.NORMAL), ("d", Priority.LOW)]:
        jobs = [Job("q", n, priority) for n in range(3)]
        names[await queue.enqueue_batch(JobBatch(name).with_jobs(jobs))] = name

    async def handler(job: Job) -> None:
        assert job.batch_id is not None
        seen.append((names[job.batch_id], job.priority))

    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        for batch_id in names:
            await finished(queue, batch_id)
    assert [name for name, _ in seen] == list("bbbcccaaaddd")


@pytest.mark.parametrize("lanes", [1, 3, 20])
async def test_no_more_jobs_run_at_a_time_than_there_are_lanes(queue: JobQueue, lanes: int) -> None:
    batch_id = await queue.enqueue_batch(batch(100))

    async def then(_job: Job) -> None:
        await asyncio.sleep(0.002)

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(lanes)):
        await finished(queue, batch_id)
    assert runs.most == lanes
    assert runs.started == dict.fromkeys(range(100), 1)


@pytest.mark.parametrize(("batch_processing", "size", "most"), [(True, 7, 7), (True, 1_000, 500), (False, 1_000, 1)])
async def test_a_claim_takes_at_most_the_batch_size(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, batch_processing: bool, size: int, most: int
) -> None:
    batch_id = await queue.enqueue_batch(batch(500).with_batch_size(size))
    sizes: list[int] = []
    exchange = queue.backend.exchange

    async def recording(*args: Any) -> Any:
        answer = await exchange(*args)
        sizes.extend(len(claim.indexes) for claim in answer.claims)
        return answer

    monkeypatch.setattr(queue.backend, "exchange", recording)
    worker = Worker(queue, "q", Runs()).with_batch_processing_enabled(batch_processing)
    async with running(worker):
        await finished(queue, batch_id)
    assert sum(sizes) == 500
    assert max(sizes) <= most
    assert len(sizes) > 1


async def test_a_busy_worker_does_not_sit_on_jobs_that_an_idle_one_could_run(queue: JobQueue) -> None:
    """Job 40 hangs until all others have run; they can only run elsewhere."""
    batch_id = await queue.enqueue_batch(batch(200))
    rest = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index == 40:
            await rest.wait()

    runs = Runs(then)
    async with running(*(Worker(queue, "q", runs).with_concurrency(1) for _ in range(2))):
        await happens(lambda: runs.ended.total() == 199)
        rest.set()
        await finished(queue, batch_id)
    assert runs.started == dict.fromkeys(range(200), 1)


# -- what handlers do


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, TimeoutError, OSError, RecursionError])
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_whatever_a_handler_raises_fails_its_job_only(
    queue: JobQueue, error: type[BaseException], kind: str
) -> None:
    batch_id = await queue.enqueue_batch(batch(20).with_max_attempts(1))

    async def async_handler(job: Job) -> None:
        plain_handler(job)

    def plain_handler(job: Job) -> None:
        if job.index == 4:
            raise error("no")

    async with running(Worker(queue, "q", async_handler if kind == "async" else plain_handler).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (19, 1)
    (group,) = await queue.get_batch_errors(batch_id)
    assert group.type == error.__name__


async def test_a_plain_handler_may_run_out_of_an_iterator(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(20).with_max_attempts(1))

    def handler(job: Job) -> None:
        if job.index == 4:
            next(iter([]))

    async with running(Worker(queue, "q", handler).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (19, 1)


async def test_a_handler_that_cancels_itself_fails_its_job_only(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(20).with_max_attempts(1))

    async def handler(job: Job) -> None:
        if job.index == 4:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async with running(Worker(queue, "q", handler).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (19, 1)


async def test_a_plain_handler_that_returns_something_to_await_has_it_awaited(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    runs = Runs()

    def handler(job: Job) -> Awaitable[None]:
        return runs(job)

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    assert runs.ended == dict.fromkeys(range(10), 1)


async def test_plain_handlers_run_in_threads_as_many_as_there_are_lanes(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(30))
    together = threading.Barrier(3)
    threads: set[int] = set()

    def handler(_job: Job) -> None:
        threads.add(threading.get_ident())
        together.wait(DEADLINE_SECONDS)

    async with running(Worker(queue, "q", handler).with_concurrency(3)):
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 30
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_job_that_hangs_times_out_and_is_tried_again(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(10).with_timeout(0.1).with_max_attempts(2))

    async def handler(job: Job) -> None:
        if job.index == 3 or (job.index == 5 and job.attempt == 1):
            await asyncio.sleep(3_600)

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (9, 1)
    (failed,) = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert failed.error is not None
    assert (failed.index, failed.attempts) == (3, 2)
    assert (failed.error.type, failed.error.message) == ("JobTimeoutError", "the job ran longer than 0.1 s")


async def test_a_thread_that_hangs_fails_its_job_and_no_other(queue: JobQueue) -> None:
    """A thread cannot be stopped; jobs that come after it must not be failed for waiting for it."""
    batch_id = await queue.enqueue_batch(batch(10).with_timeout(0.3).with_max_attempts(1))
    release = threading.Event()
    running_now = 0
    most = 0
    lock = threading.Lock()

    def handler(job: Job) -> None:
        nonlocal running_now, most
        with lock:
            running_now += 1
            most = max(most, running_now)
        if job.index == 0:
            release.wait(DEADLINE_SECONDS)
        with lock:
            running_now -= 1

    async with running(Worker(queue, "q", handler).with_concurrency(1)):

        async def look() -> BatchStatus:
            return await queue.get_batch_status(batch_id)

        await eventually(look, lambda status: status.failed_jobs == 1)
        status = await finished(queue, batch_id)
        release.set()
    assert (status.completed_jobs, status.failed_jobs) == (9, 1)
    assert most == 2, "the thread that hangs, and one in its place"


async def test_a_batch_handler_gets_the_jobs_of_a_claim_and_tells_the_fate_of_each(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(90).with_batch_size(20).with_max_attempts(2))
    calls: list[list[int]] = []

    async def handler(jobs: list[Job]) -> list[BaseException | None]:
        calls.append([job.index for job in jobs])
        return [ValueError("no") if job.index % 10 == 3 and job.attempt == 1 else None for job in jobs]

    async with running(Worker(queue, "q", batch_handler(handler)).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 90)
    assert max(map(len, calls)) > 1
    assert Counter(index for call in calls for index in call) == {n: 2 if n % 10 == 3 else 1 for n in range(90)}


# -- stopping


@pytest.mark.every_server
async def test_a_graceful_stop_loses_nothing_and_repeats_nothing(queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(batch(2_000))
    runs = Runs()

    async def started(goal: int) -> None:
        await happens(lambda: runs.started.total() >= goal)

    async with await JobQueue.connect(database_url) as own:
        for goal in (300, 600, 900, 1_200):
            worker = Worker(own, "q", runs).with_concurrency(5)
            async with running(worker):
                await started(goal)
    async with running(Worker(queue, "q", runs)):
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 2_000
    assert runs.started == dict.fromkeys(range(2_000), 1)
    assert runs.ended == runs.started


async def test_jobs_that_had_not_started_are_back_at_once_after_a_stop(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(100))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index >= 20:
            await gate.wait()

    runs = Runs(then)
    first = Worker(queue, "q", runs).with_concurrency(2)
    task = asyncio.create_task(first.run())
    await happens(lambda: runs.now == 2)
    first.stop()
    # The two that run are still in its hands; everything else can be had while they run.
    second = SteeredWorker(queue)
    await second.register()

    async def look() -> int:
        return (await queue.get_batch_status(batch_id)).running_jobs

    await eventually(look, lambda jobs: jobs == 2)
    others: list[int] = []
    while (held := await second.claim()) is not None:
        others += held.claim.indexes
        await second.end(held)
    assert not task.done()
    gate.set()
    await asyncio.wait_for(task, DEADLINE_SECONDS)
    status = await finished(queue, batch_id)
    assert status.completed_jobs == 100
    assert Counter(others) + runs.started == dict.fromkeys(range(100), 1)
    assert await sql.value("SELECT count(*) FROM hammerwork_workers WHERE id = $1", first.id) == 0


@pytest.mark.every_server
async def test_jobs_that_outlast_the_grace_period_are_given_back(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(3))
    hang = True

    async def then(_job: Job) -> None:
        while hang:
            await asyncio.sleep(0.01)

    runs = Runs(then)
    worker = Worker(queue, "q", runs).with_shutdown_grace_period(0.1)
    task = asyncio.create_task(worker.run())
    await happens(lambda: runs.now == 3)
    worker.stop()
    await asyncio.wait_for(task, DEADLINE_SECONDS)
    status = await queue.get_batch_status(batch_id)
    assert (status.pending_jobs, status.running_jobs) == (3, 0)
    hang = False
    async with running(Worker(queue, "q", runs)):
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 3
    assert (await all_jobs(queue, batch_id))[0].attempts == 1, "being cut short is not the job's failure"


async def test_a_worker_that_was_stopped_before_it_ran_does_not_run(queue: JobQueue) -> None:
    worker = Worker(queue, "q", Runs())
    worker.stop()
    await asyncio.wait_for(worker.run(), DEADLINE_SECONDS)


async def test_a_pool_runs_its_workers_until_it_is_stopped(queue: JobQueue) -> None:
    first = await queue.enqueue_batch(batch(10))
    second = await queue.enqueue_batch(JobBatch("sms").with_jobs(Job("other", n) for n in range(10)))
    pool = WorkerPool().add_worker(Worker(queue, "q", Runs())).add_worker(Worker(queue, "other", Runs()))
    task = asyncio.create_task(pool.start())
    await finished(queue, first)
    await finished(queue, second)
    pool.stop()
    await asyncio.wait_for(task, DEADLINE_SECONDS)


# -- steering a batch that runs


@pytest.mark.every_server
async def test_a_suspended_batch_starts_nothing_until_it_is_resumed(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(500).with_batch_size(5))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index >= 50:
            await gate.wait()
            await asyncio.sleep(0.01)  # else all that the worker has taken runs before it can hear of anything

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):
        await happens(lambda: runs.now == 5)
        await queue.suspend_batch(batch_id)
        other = await queue.enqueue_batch(batch(1))
        gate.set()

        async def look() -> BatchStatus:
            return await queue.get_batch_status(batch_id)

        await eventually(look, lambda status: status.running_jobs == 0)
        await finished(queue, other)
        status = await look()
        assert status.suspended
        assert not status.finished
        assert status.completed_jobs < 500
        held_back = status.completed_jobs
        assert held_back == runs.ended.total() - 1
        await queue.resume_batch(batch_id)
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 500
    assert runs.ended.total() == 501


async def test_a_batch_that_is_enqueued_suspended_waits_for_its_resumption(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(20).with_suspended())
    other = await queue.enqueue_batch(batch(1))
    runs = Runs()
    async with running(Worker(queue, "q", runs)):
        await finished(queue, other)
        assert runs.started.total() == 1
        await queue.resume_batch(batch_id)
        await finished(queue, batch_id)
    assert runs.started.total() == 21


async def test_resuming_is_exact_while_its_chunks_are_in_use(queue: JobQueue) -> None:
    """Suspended and resumed again and again while workers settle: no chunk may be forgotten."""
    batch_id = await queue.enqueue_batch(batch(6_000).with_batch_size(3))
    runs = Runs()

    async def shake() -> None:
        while not (await queue.get_batch_status(batch_id)).finished:
            await queue.suspend_batch(batch_id)
            await queue.resume_batch(batch_id)
            await asyncio.sleep(0.005)

    # Where nothing tells workers of a resumed batch, they have to look.
    async with running(*(Worker(queue, "q", runs).with_poll_interval(0.01) for _ in range(3))):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await shake()
    assert runs.started == dict.fromkeys(range(6_000), 1)


async def test_cancelling_lets_running_jobs_finish_and_starts_nothing_more(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(500))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index >= 100:
            await gate.wait()

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):
        await happens(lambda: runs.now == 5)
        status = await queue.cancel_batch(batch_id)
        assert status.state is BatchState.CANCELLED
        assert not status.finished

        async def look() -> BatchStatus:
            return await queue.get_batch_status(batch_id)

        status = await eventually(look, lambda status: status.running_jobs == 5)
        started = runs.started.total()
        gate.set()
        status = await finished(queue, batch_id)
    assert runs.started.total() == started
    assert status.completed_jobs == runs.ended.total() == started
    assert status.cancelled_jobs == 500 - started


@pytest.mark.every_server
async def test_a_batch_can_be_deleted_while_it_runs(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(500))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.batch_id == batch_id and job.index >= 100:
            await gate.wait()
            if job.index % 2:
                raise ValueError("no")

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):
        await happens(lambda: runs.now == 5)
        assert await queue.delete_batch(batch_id)
        assert await sql.stored_rows() == {}
        # Its worker learns of it while the jobs run, and goes on with others when they have ended.
        other = await queue.enqueue_batch(batch(300))
        gate.set()
        status = await finished(queue, other)
    assert status.completed_jobs == 300
    assert (await sql.stored_rows()).keys() == {"batches", "pages"}


async def test_a_worker_survives_the_loss_of_a_claim_whose_jobs_run_on(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(12))
    gate = asyncio.Event()
    late = asyncio.Event()

    async def then(job: Job) -> None:
        if not late.is_set() and job.index in {1, 2}:
            await gate.wait()

    runs = Runs(then)
    worker = Worker(queue, "q", runs).with_concurrency(3)
    async with running(worker):
        await happens(lambda: runs.now == 2 and runs.ended.total() >= 1)
        await sql.run("DELETE FROM hammerwork_workers WHERE id = $1", worker.id)
        late.set()
        await queue.release_lost_claims()
        # It reports job 0 now, which tells it that the claim is lost; only then do the others end.
        status = await finished(queue, batch_id)
        gate.set()
        await happens(lambda: runs.now == 0)
        other = await queue.enqueue_batch(batch(50))
        await finished(queue, other)
    assert status.completed_jobs == 12


# -- statistics


@pytest.mark.every_server
async def test_a_worker_counts_attempts(queue: JobQueue) -> None:
    worker = Worker(queue, "q", failing_at(0, 1))
    assert worker.get_batch_stats().success_rate() == 1.0
    batch_id = await queue.enqueue_batch(batch(10).with_max_attempts(2))
    async with running(worker):
        await finished(queue, batch_id)
        assert worker.healthy
        assert worker.ready
        assert worker.busy_lanes == 0
    stats = worker.get_batch_stats()
    assert (stats.jobs_processed, stats.jobs_completed, stats.jobs_failed) == (12, 8, 4)
    assert stats.success_rate() == pytest.approx(8 / 12)
    assert stats.average_processing_time_ms >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda worker: worker.with_concurrency(0), "worker of queue 'q': concurrency 0: must be at least 1"),
        (lambda worker: worker.with_poll_interval(0), "worker of queue 'q': poll interval 0 s: must be more than 0"),
    ],
)
async def test_settings_out_of_range_are_told(
    queue: JobQueue, change: Callable[[Worker], Worker], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        change(Worker(queue, "q", Runs()))


@pytest.mark.every_server
@only_postgres
@pytest.mark.usefixtures("notifications")
async def test_a_new_batch_wakes_an_idle_worker_without_polling(queue: JobQueue) -> None:
    runs = Runs()
    async with running(Worker(queue, "q", runs).with_poll_interval(3_600)):
        for n in range(1, 4):
            batch_id = await queue.enqueue_batch(batch(20).with_max_attempts(2))
            await finished(queue, batch_id)
            assert runs.started.total() == 20 * n


async def test_failed_jobs_are_logged_with_batch_and_index(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hammerwork.worker")
    batch_id = await queue.enqueue_batch(batch(3).with_max_attempts(1))
    async with running(Worker(queue, "q", failing_at(1))):
        await finished(queue, batch_id)
    assert f"job {batch_id}/1: attempt 1 of 1 failed: ValueError: job 1, attempt 1" in caplog.text


async def test_one_short_job_does_not_bring_all_others_here(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long jobs take is not known after the first one; what is claimed too early, no idle worker can start."""
    claimed: list[int] = []
    exchange = queue.backend.exchange

    async def watched(*arguments: Any, **options: Any) -> Any:
        answer = await exchange(*arguments, **options)
        claimed.append(sum(len(claim.indexes) for claim in answer.claims))
        return answer

    gate = asyncio.Event()

    async def handler(job: Job) -> None:
        if job.index:
            await gate.wait()

    monkeypatch.setattr(queue.backend, "exchange", watched)
    batch_id = await queue.enqueue_batch(batch(4_000))
    async with running(Worker(queue, "q", handler).with_concurrency(2)):
        await happens(lambda: sum(map(bool, claimed)) >= 2)
        gate.set()
        await finished(queue, batch_id)
    first, second = [jobs for jobs in claimed if jobs][:2]
    assert first == 2
    assert second <= 2 * FEW_JOBS
