"""Workers that are stopped: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    Job,
    JobBatch,
    JobQueue,
    Worker,
    WorkerPool,
)
from hammerwork.handlers import batch_handler
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, comes_to, finished, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from hammerwork.handlers import Handler
    from tests.harness.observing import Sql


@pytest.mark.every_server
async def test_a_graceful_stop_loses_nothing_and_repeats_nothing(queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(2_000))
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
    batch_id = await queue.enqueue_batch(retried_at_once(100))
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

    await comes_to(queue, batch_id, lambda status: status.running_jobs == 2)
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
    batch_id = await queue.enqueue_batch(retried_at_once(3))
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


async def _fails_when_cut_short(_work: object) -> None:
    try:
        await asyncio.sleep(DEADLINE_SECONDS)
    except asyncio.CancelledError:
        raise ValueError from None


@batch_handler
async def _batch_fails_when_cut_short(jobs: object) -> None:
    await _fails_when_cut_short(jobs)


@pytest.mark.parametrize("handler", [_fails_when_cut_short, _batch_fails_when_cut_short])
async def test_a_handler_that_makes_an_error_of_being_cut_short_holds_no_worker(
    queue: JobQueue, handler: Handler
) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(3))
    worker = Worker(queue, "q", handler).with_concurrency(3).with_shutdown_grace_period(0.1)
    async with running(worker):
        await comes_to(queue, batch_id, lambda status: status.running_jobs == 3)
    status = await queue.get_batch_status(batch_id)
    assert (status.running_jobs, status.pending_jobs) == (0, 3)
    async with running(Worker(queue, "q", Runs())):
        await finished(queue, batch_id)
    assert (await all_jobs(queue, batch_id))[0].attempts == 1, "being cut short is not the job's failure"


async def test_a_worker_that_was_stopped_before_it_ran_does_not_run(queue: JobQueue) -> None:
    worker = Worker(queue, "q", Runs())
    worker.stop()
    await asyncio.wait_for(worker.run(), DEADLINE_SECONDS)


async def test_a_pool_runs_its_workers_until_it_is_stopped(queue: JobQueue) -> None:
    first = await queue.enqueue_batch(retried_at_once(10))
    second = await queue.enqueue_batch(JobBatch("sms").with_jobs(Job("other", n) for n in range(10)))
    pool = WorkerPool().add_worker(Worker(queue, "q", Runs())).add_worker(Worker(queue, "other", Runs()))
    task = asyncio.create_task(pool.start())
    await finished(queue, first)
    await finished(queue, second)
    pool.stop()
    await asyncio.wait_for(task, DEADLINE_SECONDS)
