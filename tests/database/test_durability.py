"""What waits for the disk and what does not: heartbeats cost no commit that is flushed, enqueueing and outcomes do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import Job, JobBatch, JobQueue
from tests.harness import observing
from tests.harness.observing import Sql, eventually
from tests.harness.servers.postgres import postgres_server
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.harness.servers.postgres import PostgresServer

pytestmark = pytest.mark.own_server


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgresServer]:
    """A server that flushes its log at commits, and in between so seldom that a test does not see it."""
    settings = {
        "synchronous_commit": "on",
        "wal_writer_delay": "10s",
        "wal_writer_flush_after": "1GB",
        "bgwriter_lru_maxpages": "0",
        "checkpoint_timeout": "1h",
        "autovacuum": "off",
    }
    with postgres_server(settings) as server:
        yield server


@pytest.fixture
async def durable(durable_server: PostgresServer) -> AsyncIterator[tuple[JobQueue, Sql]]:
    async with await JobQueue.connect(durable_server.url()) as queue, observing.sql(durable_server.url()) as sql:
        await queue.create_tables()
        yield queue, sql


async def waited_for_the_disk(sql: Sql, what: Callable[[], Awaitable[object]]) -> bool:
    """Whether all that the server had logged before, and something of this, is on disk afterwards."""
    before = await sql.value("SELECT pg_current_wal_insert_lsn()")  # the driver's int: a number of bytes
    await what()
    assert await sql.value("SELECT pg_current_wal_insert_lsn()") > before, "nothing was written"
    return bool(await sql.value("SELECT pg_current_wal_flush_lsn()") > before)


async def without_waiting(sql: Sql, what: Callable[[], Awaitable[object]]) -> None:
    """Fail if it always waits for the disk; the server may happen to flush at this moment for other reasons."""

    async def look() -> bool:
        return await waited_for_the_disk(sql, what)

    await eventually(look, lambda waited: not waited)


async def test_heartbeats_and_turns_of_the_upkeep_do_not_wait_for_the_disk(durable: tuple[JobQueue, Sql]) -> None:
    """Thousands of workers send them; the loss of the last ones costs nothing."""
    queue, sql = durable
    worker = SteeredWorker(queue)
    await without_waiting(sql, worker.register)
    await without_waiting(sql, worker.register)
    line: Any = await queue.backend.lifeline("q", lambda: None)
    try:
        await without_waiting(sql, lambda: line.fetch("upkeep", seconds=0.0))
    finally:
        await line.close()


async def test_what_was_enqueued_and_what_was_done_is_on_disk(durable: tuple[JobQueue, Sql]) -> None:
    queue, sql = durable
    small = JobBatch("small").with_jobs(Job("q", n) for n in range(10))
    large = JobBatch("large", queue="other")
    worker = SteeredWorker(queue)
    assert await waited_for_the_disk(sql, lambda: queue.enqueue_batch(small))
    assert await waited_for_the_disk(sql, lambda: queue.enqueue_stream(large, (Job("other", n) for n in range(12_000))))
    held = await worker.take(5)
    assert await waited_for_the_disk(sql, lambda: worker.end(held))
    assert await waited_for_the_disk(sql, lambda: queue.cancel_batch(small.id))
