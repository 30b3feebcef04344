"""Batches, the newest first: by queue, metadata and state, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState
from tests.harness.batches import batch
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from hammerwork import JobQueue
    from tests.harness.observing import Sql

pytestmark = pytest.mark.every_server


async def test_batches_are_listed_newest_first_and_by_metadata(queue: JobQueue) -> None:
    ids = [await queue.enqueue_batch(batch(1).with_metadata("team", "ab"[n % 2])) for n in range(5)]
    assert [status.batch_id for status in await queue.list_batches()] == ids[::-1]
    assert [status.batch_id for status in await queue.list_batches(metadata={"team": "b"})] == [ids[3], ids[1]]
    assert await queue.list_batches(queue="other") == []
    page = await queue.list_batches(limit=2)
    assert [status.batch_id for status in page] == [ids[4], ids[3]]
    page = await queue.list_batches(limit=2, before=page[-1])
    assert [status.batch_id for status in page] == [ids[2], ids[1]]


async def test_batches_are_listed_by_the_state_that_is_told_of_them(queue: JobQueue, sql: Sql) -> None:
    states = ["Loading", "Pending", "Retrying", "Completed", "CompletedWithErrors", "Failed", "Cancelled", "Deleting"]
    for stored in states:
        batch_id = await queue.enqueue_batch(batch(2))
        await sql.run("UPDATE hammerwork_batches SET state = $1 WHERE id = $2", stored, batch_id)
    begun = await queue.enqueue_batch(batch(2))
    await sql.run("DELETE FROM hammerwork_ready WHERE batch_id <> $1", begun)
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take(1)
    assert held.claim.batch_id == begun
    half_retried = await queue.enqueue_batch(batch(2))
    await sql.run("UPDATE hammerwork_batches SET state = 'Retrying', completed = 1 WHERE id = $1", half_retried)
    every = await queue.list_batches()
    assert len(every) == len(states) + 1
    for state in BatchState:
        there = [status for status in every if status.state is state]
        assert there, state
        assert await queue.list_batches(state=state) == there
    assert await queue.list_batches(state=BatchState.FAILED, queue="other") == []
