"""Batches whose loading has ended before their seal: seen, cancelled, removed; their ids are not taken for stored."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchConflictError, BatchNotFoundError, BatchState, Job, JobBatch
from tests.harness.observing import eventually

if TYPE_CHECKING:
    from uuid import UUID

    from hammerwork import JobQueue
    from tests.harness.observing import Sql

ENQUEUER = """
import asyncio, sys, uuid
from hammerwork import Job, JobBatch, JobQueue

async def jobs():
    for n in range(100_000):
        if n == 25_000:
            await asyncio.sleep(600)
        yield Job("q", n)

async def main():
    async with await JobQueue.connect(sys.argv[1]) as queue:
        await queue.enqueue_stream(JobBatch("big", queue="q"), jobs(), batch_id=uuid.UUID(sys.argv[2]))

asyncio.run(main())
"""


async def killed_while_it_loads(queue: JobQueue, database_url: str) -> UUID:
    """Let a process enqueue a batch and be killed after 20,000 of its jobs."""
    batch_id = uuid.uuid4()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ENQUEUER, database_url, str(batch_id))

    async def stored() -> int:
        assert process.returncode is None
        try:
            return (await queue.get_batch_status(batch_id)).total_jobs
        except BatchNotFoundError:
            return 0

    try:
        await eventually(stored, lambda count: count == 20_000)
    finally:
        process.kill()
        await process.wait()
    return batch_id


async def test_a_batch_whose_enqueuer_was_killed_is_listed_and_can_be_deleted(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    batch_id = await killed_while_it_loads(queue, database_url)
    (listed,) = await queue.list_batches()
    assert (listed.batch_id, listed.state, listed.total_jobs) == (batch_id, BatchState.LOADING, 20_000)
    assert await queue.delete_batch(batch_id)
    assert await sql.stored_rows() == {}
    # The id is free.
    await queue.enqueue_batch(JobBatch("again").with_jobs([Job("q", 1)]), batch_id=batch_id)
    assert (await queue.get_batch_status(batch_id)).total_jobs == 1


async def test_a_batch_whose_enqueuer_was_killed_can_be_cancelled(queue: JobQueue, sql: Sql, database_url: str) -> None:
    """It is Cancelled then, with a part of its jobs; who enqueues its id again is told, small batch or stream."""
    batch_id = await killed_while_it_loads(queue, database_url)
    await queue.cancel_batch(batch_id)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.finished, status.cancelled_jobs) == (BatchState.CANCELLED, True, 20_000)
    told = r"became Cancelled while its jobs were being loaded; only some of them are stored.* Delete it"
    for _ in range(2):
        with pytest.raises(BatchConflictError, match=told):
            await queue.enqueue_batch(JobBatch("small").with_jobs([Job("q", 1)]), batch_id=batch_id)
        with pytest.raises(BatchConflictError, match=told):
            await queue.enqueue_stream(JobBatch("big", queue="q"), [Job("q", 1)], batch_id=batch_id)
    assert (await queue.get_batch_status(batch_id)).total_jobs == 20_000
    assert await queue.delete_batch(batch_id)
    await queue.enqueue_batch(JobBatch("small").with_jobs([Job("q", 1)]), batch_id=batch_id)
    assert (await queue.get_batch_status(batch_id)).state is BatchState.PENDING
    assert (await sql.stored_rows())["batches"] == 1
