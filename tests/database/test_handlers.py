"""Whatever a handler does, it is its job that fails, and no other."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobQueue,
    JobStatus,
    Worker,
    batch_handler,
)
from tests.harness.batches import retried_at_once, tried_once
from tests.harness.handlers import Runs
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, finished, running

if TYPE_CHECKING:
    from collections.abc import Awaitable


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, TimeoutError, OSError, RecursionError])
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_whatever_a_handler_raises_fails_its_job_only(
    queue: JobQueue, error: type[BaseException], kind: str
) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(20).with_max_attempts(1))

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
    batch_id = await queue.enqueue_batch(retried_at_once(20).with_max_attempts(1))

    def handler(job: Job) -> None:
        if job.index == 4:
            next(iter([]))

    async with running(Worker(queue, "q", handler).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (19, 1)


async def test_a_handler_that_cancels_itself_fails_its_job_only(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(20).with_max_attempts(1))

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
    batch_id = await queue.enqueue_batch(retried_at_once(10))
    runs = Runs()

    def handler(job: Job) -> Awaitable[None]:
        return runs(job)

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    assert runs.ended == dict.fromkeys(range(10), 1)


async def test_plain_handlers_run_in_threads_as_many_as_there_are_lanes(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(30))
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
    batch_id = await queue.enqueue_batch(retried_at_once(10).with_timeout(0.1).with_max_attempts(2))

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
    hanging = await queue.enqueue_batch(tried_once(1, 0.3))
    others = await queue.enqueue_batch(tried_once(9, 10.0))
    release = threading.Event()
    running_now = 0
    most = 0
    lock = threading.Lock()

    def handler(job: Job) -> None:
        nonlocal running_now, most
        with lock:
            running_now += 1
            most = max(most, running_now)
        if job.batch_id == hanging:
            release.wait(DEADLINE_SECONDS)
        with lock:
            running_now -= 1

    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        assert (await finished(queue, hanging)).failed_jobs == 1
        assert (await finished(queue, others)).completed_jobs == 9
        release.set()
    assert most == 2, "the thread that hangs, and one in its place"


async def test_a_batch_handler_gets_the_jobs_of_a_claim_and_tells_the_fate_of_each(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(90).with_batch_size(20).with_max_attempts(2))
    calls: list[list[int]] = []

    async def handler(jobs: list[Job]) -> list[BaseException | None]:
        calls.append([job.index for job in jobs])
        return [ValueError("no") if job.index % 10 == 3 and job.attempt == 1 else None for job in jobs]

    async with running(Worker(queue, "q", batch_handler(handler)).with_concurrency(2)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 90)
    assert max(map(len, calls)) > 1
    assert Counter(index for call in calls for index in call) == {n: 2 if n % 10 == 3 else 1 for n in range(90)}


async def test_a_handler_that_can_be_entered_is_open_while_the_worker_runs(queue: JobQueue) -> None:
    class Connected:
        def __init__(self) -> None:
            self.events: list[str] = []

        async def __aenter__(self) -> None:
            self.events.append("opened")

        async def __call__(self, job: Job) -> None:
            self.events.append(f"job {job.index}")

        async def __aexit__(self, *_: object) -> None:
            self.events.append("closed")

    handler = Connected()
    batch_id = await queue.enqueue_batch(retried_at_once(2))
    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        await finished(queue, batch_id)
    assert handler.events == ["opened", "job 0", "job 1", "closed"]
