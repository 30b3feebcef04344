"""Batches that are suspended, resumed, cancelled or deleted while they run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobQueue,
    Worker,
)
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs
from tests.harness.observing import DEADLINE_SECONDS, comes_to, finished, happens, running

if TYPE_CHECKING:
    from tests.harness.observing import Sql


@pytest.mark.every_server
async def test_a_suspended_batch_starts_nothing_until_it_is_resumed(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(500).with_batch_size(5))
    gate = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index >= 50:
            await gate.wait()
            await asyncio.sleep(0.01)  # else all that the worker has taken runs before it can hear of anything

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(5)):
        await happens(lambda: runs.now == 5)
        await queue.suspend_batch(batch_id)
        other = await queue.enqueue_batch(retried_at_once(1))
        gate.set()

        await comes_to(queue, batch_id, lambda status: status.running_jobs == 0)
        await finished(queue, other)
        status = await queue.get_batch_status(batch_id)
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
    batch_id = await queue.enqueue_batch(retried_at_once(20).with_suspended())
    other = await queue.enqueue_batch(retried_at_once(1))
    runs = Runs()
    async with running(Worker(queue, "q", runs)):
        await finished(queue, other)
        assert runs.started.total() == 1
        await queue.resume_batch(batch_id)
        await finished(queue, batch_id)
    assert runs.started.total() == 21


async def test_resuming_is_exact_while_its_chunks_are_in_use(queue: JobQueue) -> None:
    """Suspended and resumed again and again while workers settle: no chunk may be forgotten."""
    batch_id = await queue.enqueue_batch(retried_at_once(6_000).with_batch_size(3))
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
    batch_id = await queue.enqueue_batch(retried_at_once(500))
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

        status = await comes_to(queue, batch_id, lambda status: status.running_jobs == 5)
        started = runs.started.total()
        gate.set()
        status = await finished(queue, batch_id)
    assert runs.started.total() == started
    assert status.completed_jobs == runs.ended.total() == started
    assert status.cancelled_jobs == 500 - started


@pytest.mark.every_server
async def test_a_batch_can_be_deleted_while_it_runs(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(500))
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
        other = await queue.enqueue_batch(retried_at_once(300))
        gate.set()
        status = await finished(queue, other)
    assert status.completed_jobs == 300
    assert (await sql.stored_rows()).keys() == {"batches", "pages"}


async def test_a_worker_survives_the_loss_of_a_claim_whose_jobs_run_on(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(12))
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
        other = await queue.enqueue_batch(retried_at_once(50))
        await finished(queue, other)
    assert status.completed_jobs == 12
