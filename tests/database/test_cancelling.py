"""Whatever waits for the database can be cancelled at any moment: it ends, and its connections are there for others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import Job, JobBatch, JobQueue, Worker
from tests.harness.cancelling import forgotten
from tests.harness.observing import eventually

if TYPE_CHECKING:
    from tests.harness.observing import Sql

CONNECTIONS = 2
pytestmark = pytest.mark.filterwarnings("ignore:'INFORMATION_SCHEMA.PROCESSLIST' is deprecated")


async def connect(_queue: JobQueue, url: str) -> None:
    own = await JobQueue.connect(url)
    await own.close()


async def close(_queue: JobQueue, url: str) -> None:
    async with await JobQueue.connect(url) as own:
        await asyncio.gather(own.ping(), own.ping())


async def store(queue: JobQueue, _url: str) -> None:
    await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))


async def stream(queue: JobQueue, _url: str) -> None:
    await queue.enqueue_stream(JobBatch("b", queue="q"), (Job("q", n) for n in range(10_100)))


async def look(queue: JobQueue, _url: str) -> None:
    await queue.get_batch_statuses([uuid.uuid4()])


async def check(queue: JobQueue, _url: str) -> None:
    await queue.check_version()


async def do_upkeep(queue: JobQueue, _url: str) -> None:
    await queue.backend.upkeep(0.0)


async def query(queue: JobQueue, _url: str) -> None:
    async with queue.query("SELECT 1 AS n", timeout=60, alone=uuid.uuid4()) as rows:
        assert [row async for row in rows] == [{"n": 1}]


async def leave_query(queue: JobQueue, _url: str) -> None:
    """While the server still sends rows."""
    numbers = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(40))
    sql = f"SELECT repeat('x', 100000) AS text FROM ({numbers}) m"
    async with queue.query(sql, timeout=60, alone=uuid.uuid4()) as rows:
        for _ in range(8):
            await anext(rows)


async def steer(queue: JobQueue, _url: str) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]).with_suspended(True))
    await queue.resume_batch(batch_id)
    await queue.delete_batch(batch_id)


async def work(queue: JobQueue, _url: str) -> None:
    ran = 0

    async def handle(_job: Job) -> None:
        nonlocal ran
        await asyncio.sleep(0)
        if (ran := ran + 1) == 2:
            worker.stop()

    worker = Worker(queue, "work", handle).with_concurrency(1)
    await queue.enqueue_batch(JobBatch("b").with_jobs(Job("work", n) for n in range(2)))
    await worker.run()


Operation = Callable[[JobQueue, str], Coroutine[Any, Any, None]]
OPERATIONS: list[Operation] = [connect, close, store, stream, look, check, do_upkeep, query, leave_query, steer, work]


async def test_a_cancellation_is_never_forgotten(database_url: str, queue: JobQueue, sql: Sql) -> None:
    async def sessions() -> int:
        table = "pg_stat_activity" if database_url.startswith("postgres") else "information_schema.processlist"
        column, own = ("datname", "current_database()") if "activity" in table else ("db", "DATABASE()")
        return int(await sql.value(f"SELECT count(*) FROM {table} WHERE {column} = {own}"))

    await queue.ping()
    before = await sessions()
    faults = []
    async with await JobQueue.connect(database_url, max_connections=CONNECTIONS) as own:
        pool = own.backend._database._pool  # type: ignore[attr-defined]

        async def slots() -> tuple[int, int]:
            return pool._slots._value, len(pool._lent) + len(pool._leaving)

        async def settled() -> None:
            await eventually(slots, lambda found: found == (CONNECTIONS, 0), tell=lambda found: f"slots {found}")

        for operation in OPERATIONS:
            found = await forgotten(partial(operation, own, database_url), settled)
            faults += [f"{operation.__name__}: {fault}" for fault in found]
    assert faults == []
    await eventually(sessions, lambda count: count <= before, tell=lambda count: f"{count} sessions, {before} before")
