"""A table that is locked for longer than a worker waits for an answer, as by CREATE INDEX or VACUUM FULL."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobQueue, Worker
from hammerwork.timing import EXCHANGE_SECONDS, RECOVER_SECONDS
from tests.harness.observing import eventually, finished, running, sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.observing import Sql

JOBS = 4_000


@contextlib.asynccontextmanager
async def locked_chunks(connection: Sql, database_url: str) -> AsyncIterator[None]:
    """Let others read the table of chunks, and not write."""
    if database_url.startswith("postgres"):
        await connection.run("BEGIN")
        await connection.run("LOCK TABLE hammerwork_chunks IN SHARE MODE")
        yield
        await connection.run("COMMIT")
    else:
        await connection.run("LOCK TABLES hammerwork_chunks READ")
        yield
        await connection.run("UNLOCK TABLES")


async def test_a_table_locked_for_longer_than_workers_wait_loses_and_repeats_nothing(database_url: str) -> None:
    ran: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        await asyncio.sleep(0.05)
        ran[job.index] += 1

    async with contextlib.AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(await JobQueue.connect(database_url)) for _ in range(3)]
        await queues[0].create_tables()
        connection = await stack.enter_async_context(sql(database_url))
        batch_id = await queues[0].enqueue_batch(
            JobBatch("mail").with_jobs(Job("q", n) for n in range(JOBS)).with_batch_size(50)
        )
        async with running(*(Worker(queue, "q", handler) for queue in queues)):
            await eventually(lambda: _count(ran), lambda jobs: jobs > 500)
            async with locked_chunks(connection, database_url):
                await asyncio.sleep(EXCHANGE_SECONDS + 4)
            status = await finished(queues[0], batch_id, within=2 * RECOVER_SECONDS + 30)
        claims = await connection.value("SELECT count(*) FROM hammerwork_claims")
    assert (status.completed_jobs, claims) == (JOBS, 0)
    assert ran == dict.fromkeys(range(JOBS), 1)


async def _count(ran: Counter[int]) -> int:
    return ran.total()
