"""A server that forgets its last commits: what was stored can be stored again, and all jobs come to their end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from hammerwork import DatabaseUnavailableError, Job, JobBatch, JobQueue
from hammerwork.ids import new_batch_id
from tests.database.observing import all_jobs, sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from tests.chaos.servers import Server

JOBS = 5_000
TRIES_SECONDS = 60.0
"""A server may write a commit by chance before it crashes; then the test tries again."""


class RememberedError(Exception):
    """The server has kept what it was to forget."""


@contextlib.asynccontextmanager
async def forgetting(target: Server) -> AsyncIterator[None]:
    """Let a server lose at the end of the block what it has committed in it."""
    await target.forget()
    yield
    await asyncio.to_thread(target.stop, crash=True)
    await asyncio.to_thread(target.start)
    await target.remember()


@pytest.mark.parametrize("crash_at", [0, JOBS], ids=["before the first slice", "before the seal"])
async def test_a_load_that_was_forgotten_from_its_beginning_is_called_again(
    target: Server, database_url: str, crash_at: int
) -> None:
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        deadline = time.monotonic() + TRIES_SECONDS
        while True:
            batch_id = new_batch_id()
            async with contextlib.AsyncExitStack() as crash:
                await crash.enter_async_context(forgetting(target))

                async def reached(
                    stored: int, batch_id: UUID = batch_id, crash: contextlib.AsyncExitStack = crash
                ) -> None:
                    if stored == crash_at:
                        await crash.aclose()
                        async with sql(database_url) as connection:
                            if await connection.value(
                                "SELECT count(*) FROM hammerwork_batches WHERE id = $1", batch_id
                            ):
                                raise RememberedError

                async def jobs(reached: Callable[[int], Awaitable[None]] = reached) -> AsyncIterator[Job]:
                    await reached(0)
                    for n in range(JOBS):
                        yield Job("q", n)

                batch = JobBatch("mail", queue="q")
                try:
                    with pytest.raises(DatabaseUnavailableError, match="not there while its jobs are being loaded"):
                        await queue.enqueue_stream(batch, jobs(), batch_id=batch_id, progress=reached)
                    break
                except RememberedError:
                    assert time.monotonic() < deadline, "the server forgets nothing"
        again = (Job("q", n) for n in range(JOBS))
        assert await queue.enqueue_stream(batch, again, batch_id=batch_id) == batch_id
        assert [job.payload for job in await all_jobs(queue, batch_id)] == list(range(JOBS))
