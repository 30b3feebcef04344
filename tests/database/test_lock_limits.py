"""The server gives up waiting for a lock before its client does, and says so (MySQL: see mysql/test_servers.py)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import DatabaseUnavailableError, Job, JobBatch
from tests.harness import observing
from tests.harness.observing import eventually, only_postgres
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork import JobQueue
    from tests.harness.observing import Sql

pytestmark = only_postgres


@contextlib.asynccontextmanager
async def holding(database_url: str, query: str) -> AsyncIterator[None]:
    """Somebody holds what the query locks during the block."""
    async with observing.sql(database_url) as sql:
        await sql.run("BEGIN")
        await sql.rows(query)
        yield
        await sql.run("COMMIT")


async def test_a_call_that_meets_a_lock_for_too_long_is_ended_by_the_server(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    """Its connection stays: the client has not given it up."""
    database: Any = queue.backend._database  # type: ignore[attr-defined]
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(10)))
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take(1)
    for function in ("begin_1(uuid, bigint)", "cancel_1(uuid)"):
        await sql.run(f"ALTER FUNCTION hammerwork_{function} SET lock_timeout = '200ms'")
    sessions = database.sessions
    async with holding(database_url, "SELECT * FROM hammerwork_claims FOR UPDATE"):
        with pytest.raises(DatabaseUnavailableError, match="lock timeout") as told:
            await queue.backend.begin(worker.id, held.claim.id)
        assert told.value.code == "55P03"
    async with holding(database_url, "SELECT * FROM hammerwork_batches FOR UPDATE"):
        with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
            await queue.cancel_batch(batch_id)
    await queue.cancel_batch(batch_id)
    assert database.sessions == sessions


async def test_what_removes_workers_is_ended_by_the_server_where_their_rows_are_held(
    queue: JobQueue, sql: Sql, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are plain statements, which say their limit themselves."""
    worker = SteeredWorker(queue)
    await worker.register()
    await sql.run("UPDATE hammerwork_workers SET instance = 'pod', heard = -1000")
    line: Any = await queue.backend.lifeline("q", lambda: None)
    waits: dict[str, dict[str, Any]] = {
        "retire": {"worker": worker.id},
        "retire_others": {"worker": uuid.uuid4(), "instance": "pod"},
        "forget_workers": {},
        "forget_silent": {"ids": [worker.id], "share": 0.0},
    }
    for name in waits:
        known = line._statements[name]
        monkeypatch.setitem(line._statements, name, known._replace(text=known.text.replace("'8s'", "'200ms'")))
    try:
        async with holding(database_url, "SELECT * FROM hammerwork_workers FOR UPDATE"):
            for name, values in waits.items():
                with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
                    await line.fetch(name, **values)
        await line.fetch("forget_workers")
        assert await queue.get_workers() == []
    finally:
        await line.close()


async def test_a_slice_that_waits_for_its_batch_is_ended_by_the_server(
    queue: JobQueue, sql: Sql, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another enqueuer of the same batch holds it; the transaction of a slice is of plain statements, too."""
    monkeypatch.setattr("hammerwork.backends.postgres.connection.STEERING_LOCK_SECONDS", 0.3)
    batch_id = uuid.uuid4()
    stored = asyncio.Event()

    async def progress(_stored: int) -> None:
        stored.set()
        await held.wait()

    held = asyncio.Event()
    jobs = (Job("q", n) for n in range(25_000))
    enqueueing = asyncio.create_task(
        queue.enqueue_stream(JobBatch("b", queue="q"), jobs, batch_id=batch_id, progress=progress)
    )
    await stored.wait()
    async with holding(database_url, "SELECT * FROM hammerwork_batches FOR UPDATE"):
        held.set()
        with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
            await asyncio.wait_for(enqueueing, 20)
    await eventually(lambda: sql.waiting_for_locks(""), lambda count: count == 0)
    again = (Job("q", n) for n in range(25_000))
    assert await queue.enqueue_stream(JobBatch("b", queue="q"), again, batch_id=batch_id) == batch_id
    assert (await queue.get_batch_status(batch_id)).total_jobs == 25_000
