"""Moments that no load test is sure to hit, brought about by hand: locked rows, work that was left half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hammerwork import BatchState, Job, Worker
from tests.harness.batches import batch
from tests.harness.observing import DEADLINE_SECONDS, finished, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from hammerwork import JobQueue
    from tests.harness.observing import Sql


async def test_resuming_misses_no_chunk_that_a_worker_is_reporting_from(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10).with_suspended())
    await sql.run("BEGIN")
    await sql.rows("SELECT id FROM hammerwork_chunks FOR UPDATE")
    resumption = asyncio.create_task(queue.resume_batch(batch_id))
    await asyncio.wait([resumption], timeout=0.3)
    await sql.run("COMMIT")
    await asyncio.wait_for(resumption, DEADLINE_SECONDS)
    assert (await queue.get_queue_depths())["q"].ready == 10
    assert not (await queue.get_batch_status(batch_id)).suspended


async def test_a_chunk_that_was_missed_when_its_batch_was_suspended_is_not_claimed(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    await sql.run("BEGIN")
    await sql.rows("SELECT id FROM hammerwork_chunks FOR UPDATE")
    suspension = asyncio.create_task(queue.suspend_batch(batch_id))
    await asyncio.wait([suspension], timeout=0.3)
    await sql.run("COMMIT")
    await asyncio.wait_for(suspension, DEADLINE_SECONDS)
    worker = SteeredWorker(queue)
    assert await worker.claim() is None
    await queue.resume_batch(batch_id)
    assert (await worker.take()).size == 10


async def test_a_stopped_batch_with_a_long_job_does_not_keep_others_from_ending(queue: JobQueue, sql: Sql) -> None:
    """Whoever cancelled the second batch died before it could be ended; a worker's upkeep does that."""
    first, second = [await queue.enqueue_batch(batch(5)) for _ in range(2)]
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take(1)
    assert held.claim.batch_id == first
    await queue.cancel_batch(first)
    await sql.run("UPDATE hammerwork_batches SET state = 'Cancelled' WHERE id = $1", second)
    assert not (await queue.get_batch_status(second)).finished
    await queue.backend.upkeep(0.0)
    status = await queue.get_batch_status(second)
    assert (status.finished, status.state, status.cancelled_jobs) == (True, BatchState.CANCELLED, 5)
    assert not (await queue.get_batch_status(first)).finished
    await worker.end(held)
    assert (await queue.get_batch_status(first)).finished


async def test_jobs_that_are_given_back_wake_idle_workers(queue: JobQueue) -> None:
    """The idle worker would look for work by itself only in an hour, where it is notified; else it polls."""
    batch_id = await queue.enqueue_batch(batch(50))
    stopping = SteeredWorker(queue)
    await stopping.register()
    held = await stopping.take()
    ran: list[int] = []

    async def handler(job: Job) -> None:
        ran.append(job.index)

    async with running(
        Worker(queue, "q", handler).with_poll_interval(3_600 if queue.backend.capabilities.notifies else 0.1)
    ):
        # A batch of its own shows that it listens and has nothing left to do.
        await finished(queue, await queue.enqueue_batch(batch(1)))
        held.release_waiting()
        await stopping.report(held)
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 50
    assert len(ran) == 51
