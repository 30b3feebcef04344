"""An enqueuer whose connection falls silent in the middle of a transaction does not block the next one for hours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hammerwork import Job, JobBatch, JobQueue
from hammerwork.backends.postgres import connection as postgres_connection
from hammerwork.ids import new_batch_id
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from tests.harness.servers import Server


async def test_an_abandoned_slice_is_loaded_by_another(
    server: Server, queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.family != "postgresql":
        pytest.skip(
            "MySQL sessions have a wait_timeout of five minutes, which does the same and is too long for a test"
        )
    batch_id = new_batch_id()
    batch, jobs = JobBatch("mail", queue="q"), [Job("q", n) for n in range(3)]
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as silent:
        locked = asyncio.Event()

        async def never_copy(*_: object, **__: object) -> None:
            locked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(postgres_connection, "ABANDONED_SECONDS", 0.5)
        monkeypatch.setattr(asyncpg.Connection, "copy_to_table", never_copy)
        abandoned = asyncio.create_task(silent.enqueue_stream(batch, jobs, batch_id=batch_id))
        await asyncio.wait_for(locked.wait(), 30)
        relay.strand()
        monkeypatch.undo()
        async with asyncio.timeout(30):
            await queue.enqueue_stream(batch, jobs, batch_id=batch_id)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
