"""Few statements for many jobs, and what happens when they meet the locks of others."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobBatch,
    JobQueue,
    RetryPolicy,
    Worker,
)
from hammerwork.backends.mysql.connection import Connection
from hammerwork.backends.mysql.options import connection_options, open_connection
from hammerwork.backends.protocol import Settled
from tests.database.mysql.inside import database_of
from tests.harness.batches import batch
from tests.harness.observing import eventually, finished, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.observing import Sql

pytestmark = pytest.mark.only("mysql")


@contextlib.asynccontextmanager
async def transaction(url: str) -> AsyncIterator[Any]:
    """A cursor whose locks are held during the block."""
    connection = await open_connection(**connection_options(url))
    try:
        await connection.begin()
        async with connection.cursor() as cursor:
            yield cursor
        await connection.rollback()
    finally:
        connection.close()


async def status_of(sql: Sql, variable: str) -> int:
    ((_, value),) = await sql.rows("SHOW GLOBAL STATUS LIKE $1", variable)
    return int(value)


async def deadlocks(sql: Sql) -> int:
    """Deadlocks of the whole server since its start."""
    return int(await sql.value("SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"))


async def last_deadlock(sql: Sql) -> str:
    ((_, _, status),) = await sql.rows("SHOW ENGINE INNODB STATUS")
    return str(status).partition("LATEST DETECTED DEADLOCK")[2].partition("\nTRANSACTIONS\n")[0]


def comes_from_skipping(deadlock: str) -> bool:
    """Whether InnoDB makes such a deadlock of SKIP LOCKED, see docs/decisions/002."""
    waits = re.findall(r"WAITING FOR THIS LOCK TO BE GRANTED:\nRECORD LOCKS .* index (\w+) of table", deadlock)
    assert len(waits) == 2, deadlock
    return "SKIP LOCKED" in deadlock or set(waits) == {"hammerwork_chunks_ready"}


class Counted:
    """Counts the texts that are sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[bytes] = []
        run = Connection.run

        async def counted(connection: Connection, text: bytes) -> Any:
            self.texts.append(text)
            return await run(connection, text)

        monkeypatch.setattr(Connection, "run", counted)


async def test_few_round_trips(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SteeredWorker(queue)
    counted = Counted(monkeypatch)
    await queue.enqueue_batch(batch(1_000).with_batch_size(1_000))
    assert len(counted.texts) == 1
    held = await worker.take()
    assert held.size == 1_000
    assert len(counted.texts) == 2
    await worker.end(held)
    assert len(counted.texts) == 3
    await queue.enqueue_stream(JobBatch("mail", queue="q"), (Job("q", {"n": n}) for n in range(10_000)))
    assert len(counted.texts) <= 3 + 6, "ten thousand jobs: create, look, lock, insert, append, seal"


async def test_a_claim_neither_waits_for_the_batch_nor_locks_it(queue: JobQueue, database_url: str) -> None:
    await queue.enqueue_batch(batch(10).with_batch_size(5))
    async with transaction(database_url) as cursor:
        await cursor.execute("SELECT id FROM hammerwork_batches FOR UPDATE")
        async with asyncio.timeout(5):
            await SteeredWorker(queue).take()
    async with transaction(database_url) as other:
        await other.execute(
            "SELECT ch.id FROM hammerwork_chunks ch WHERE (SELECT b.state = 'Pending' FROM hammerwork_batches b"
            " WHERE b.id = ch.batch_id) LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        async with transaction(database_url) as cursor:
            await cursor.execute("SELECT id FROM hammerwork_batches FOR UPDATE NOWAIT")
            assert len(await cursor.fetchall()) == 1


async def test_locked_rows_are_told_as_busy(queue: JobQueue, database_url: str) -> None:
    await queue.enqueue_batch(batch(10))
    async with transaction(database_url) as cursor:
        await cursor.execute("SELECT id FROM hammerwork_chunks FOR UPDATE")
        exchange = await queue.backend.exchange(uuid.uuid4(), "q", [], 10)
        assert (exchange.claims, exchange.busy) == ([], True)
    exchange = await queue.backend.exchange(uuid.uuid4(), "other", [], 10)
    assert (exchange.claims, exchange.busy) == ([], False)


async def test_a_batch_is_stopped_after_the_claims_that_are_being_taken(
    queue: JobQueue, database_url: str, sql: Sql
) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    async with transaction(database_url) as cursor:
        await cursor.execute("SELECT queue FROM hammerwork_ready LOCK IN SHARE MODE")  # as a claim does
        cancelling = asyncio.create_task(queue.cancel_batch(batch_id))
        await eventually(lambda: status_of(sql, "Innodb_row_lock_current_waits"), bool)
        assert not cancelling.done()
    status = await cancelling
    assert (status.state, status.cancelled_jobs, status.finished) == (BatchState.CANCELLED, 10, True)
    assert await SteeredWorker(queue).claim() is None


@pytest.mark.administrator
async def test_a_deadlock_is_run_again(queue: JobQueue, database_url: str, sql: Sql) -> None:
    """Two transactions lock a claim and a batch in opposite order; the server rolls back the one that wrote less."""
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    before = await deadlocks(sql)
    async with transaction(database_url) as cursor:
        await cursor.execute("UPDATE hammerwork_batches SET name = 'other'")
        # Much written: not to be the victim.
        await cursor.execute(
            "INSERT INTO hammerwork_pages "
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 69) "
            "SELECT x'00000000000000000000000000000001', 70 * a.n + b.n, 70 * a.n + b.n, '1' "
            "FROM numbers a JOIN numbers b"
        )
        ending = asyncio.create_task(worker.end(held))
        await eventually(lambda: status_of(sql, "Innodb_row_lock_current_waits"), bool)
        await cursor.execute("UPDATE hammerwork_claims SET open = open")
    assert await ending is Settled.OK
    assert await deadlocks(sql) > before
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.state) == (10, BatchState.COMPLETED)


@pytest.mark.parametrize("table", ["claims", "chunks", "batches"])
async def test_a_lock_timeout_is_run_again(
    queue: JobQueue, database_url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    await database_of(queue).run(b"SET SESSION innodb_lock_wait_timeout = 1")  # of the one idle connection
    counted = Counted(monkeypatch)
    async with transaction(database_url) as cursor:
        await cursor.execute(f"SELECT * FROM hammerwork_{table} FOR UPDATE")
        ending = asyncio.create_task(worker.end(held))

        async def texts() -> list[bytes]:
            return counted.texts

        await eventually(texts, lambda sent: sent.count(b"ROLLBACK") >= 1)
    assert await ending is Settled.OK
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.state) == (10, BatchState.COMPLETED)
    assert await sql.stored_rows() == {"batches": 1, "pages": 1}


@pytest.mark.administrator
async def test_many_workers_meet_no_deadlock_but_of_skipping(queue: JobQueue, database_url: str, sql: Sql) -> None:
    before = await deadlocks(sql)

    async def handler(job: Job) -> None:
        if job.index % 5 == job.attempt:
            raise ValueError("no")

    async with await JobQueue.connect(database_url) as other:
        at_once = RetryPolicy(initial_seconds=0, max_seconds=0)
        ids = [await queue.enqueue_batch(batch(1_500).with_batch_size(7).with_retry_policy(at_once)) for _ in range(2)]
        ids += [await queue.enqueue_batch(batch(1_500).with_batch_size(7)) for _ in range(2)]
        workers = [Worker(own, "q", handler).with_concurrency(4) for own in (queue, other) for _ in range(4)]
        async with running(*workers):
            await queue.cancel_batch(ids[2])
            await queue.suspend_batch(ids[0])
            await queue.delete_batch(ids[3])
            await queue.resume_batch(ids[0])
            statuses = [await finished(queue, batch_id) for batch_id in ids[:3]]
    assert [status.completed_jobs for status in statuses[:2]] == [1_500, 1_500]
    if await deadlocks(sql) != before:
        deadlock = await last_deadlock(sql)
        assert comes_from_skipping(deadlock), deadlock
