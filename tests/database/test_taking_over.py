"""An earlier version's database is taken over while it is in use: work goes on, and who holds a table is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING

import msgspec
import pytest

from hammerwork import BatchState, Job, JobQueue, Priority, RetryPolicy, Worker
from hammerwork.backends import migrating
from tests.database.test_upgrades import create_tables_of, family_of
from tests.harness import observing
from tests.harness.observing import DEADLINE_SECONDS, finished, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.harness.observing import Sql


@contextlib.asynccontextmanager
async def reading(url: str, table: str) -> AsyncIterator[None]:
    """Somebody reads a table within a transaction during the block: it cannot be altered meanwhile."""
    async with observing.sql(url) as sql:
        await sql.run("BEGIN")
        await sql.rows(f"SELECT * FROM {table}")
        yield
        await sql.run("COMMIT")


@pytest.mark.every_server
async def test_a_migration_waits_for_a_table_in_turns(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes behind the migration gets through although the table is held all the time."""
    monkeypatch.setattr(migrating, "LOCK_SECONDS", 1)
    async with await JobQueue.connect(database_url) as queue, observing.sql(database_url) as sql:
        await create_tables_of(1, queue, family_of(database_url))
        async with reading(database_url, "hammerwork_chunks"):
            creation = asyncio.create_task(queue.create_tables())
            await asyncio.wait([creation], timeout=0.3)
            for _ in range(10):
                # Not a single one of them waits for longer than a turn, nor does the migration end.
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await sql.rows("SELECT * FROM hammerwork_chunks")
                await asyncio.wait([creation], timeout=0.2)
            assert not creation.done()
        await asyncio.wait_for(creation, DEADLINE_SECONDS)
        await sql.rows("SELECT lost_before FROM hammerwork_chunks")


CHUNKS: list[dict[str, object]] = [
    {"lo": 0, "hi": 9, "size": 10, "state": "ready"},
    # The first five were completed, and a worker holds the others.
    {"lo": 10, "hi": 19, "size": 10, "state": "taken", "next": 10, "completed": 5},
    # A job that has killed a worker, or so it seems, and waits to be run alone.
    {"lo": 20, "hi": 20, "size": 1, "state": "ready", "claim_limit": 1, "losses": 1, "place": -1},
    {"lo": 21, "hi": 29, "size": 4, "state": "scheduled", "attempt": 2, "spans": "[[21,22],[28,29]]"},
    # Of the rest of it, one job has failed for good.
    {"lo": 23, "hi": 27, "size": 5, "state": "taken", "next": 5, "completed": 4, "failed": 1},
]
"""Of a batch of 30 jobs, as version 1 has stored them."""
GONE = CHUNKS[-1]


async def insert(sql: Sql, table: str, row: dict[str, object]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await sql.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def batch_in_progress(sql: Sql, family: str) -> UUID:
    """Store a batch as version 1 does, with a worker in the middle of it that does not come back."""
    batch_id, worker_id = uuid.uuid4(), uuid.uuid4()
    rank, opened = ("`rank`", "`open`") if family == "mysql" else ("rank", "open")
    order = {"precedence": 2} if family == "mysql" else {"priority": 2}
    time = await sql.value("SELECT UTC_TIMESTAMP(6)" if family == "mysql" else "SELECT now()")
    now = time.replace(tzinfo=UTC)
    moment = dict.fromkeys(("created_at", "sealed_at", "started_at"), now)
    await insert(
        sql,
        "hammerwork_batches",
        {
            "id": batch_id,
            "name": "of version 1",
            "queue": "q",
            "failure_mode": "ContinueOnError",
            "state": "Pending",
            "suspended": False,
            "total": 30,
            # Chunks that have ended are in the batch's counts.
            "completed": GONE["completed"],
            "failed": GONE["failed"],
            "batch_size": 100,
            "max_attempts": 3,
            "retry_policy": msgspec.json.encode(RetryPolicy()).decode(),
            "top_priority": 2,
            "priorities": json.dumps([[0, 2]]),
            rank: 1,
            "metadata": "{}",
            **moment,
        },
    )
    for lo, hi in ((0, 19), (20, 29)):
        payloads = ",".join(str(n) for n in range(lo, hi + 1))
        await insert(sql, "hammerwork_pages", {"batch_id": batch_id, "lo": lo, "hi": hi, "payloads": payloads})
    for chunk in CHUNKS:
        if chunk is GONE:
            continue
        row = {"batch_id": batch_id, **order, **chunk}
        if chunk["state"] == "taken":
            row["started_at"] = now
        if chunk["state"] == "scheduled":
            row["run_at"] = now
        if chunk.get("losses"):
            row["lost_by"] = worker_id
        await insert(sql, "hammerwork_chunks", row)
    taken = await sql.value("SELECT id FROM hammerwork_chunks WHERE state = 'taken'")
    held = {"worker_id": worker_id, "chunk_id": taken, "batch_id": batch_id, "lo": 15, "hi": 19}
    await insert(
        sql,
        "hammerwork_claims",
        {**held, opened: 5, **({"id": 7, "claimed_at": now} if family == "mysql" else {})},
    )
    failure: dict[str, object] = {"batch_id": batch_id, "idx": 23, "attempt": 3, "final": True}
    await insert(
        sql,
        "hammerwork_failures",
        {**failure, "error_type": "ValueError", "message": "no", "failed_at": now},
    )
    await insert(sql, "hammerwork_ready", {"batch_id": batch_id, **order, "queue": "q", rank: 1})
    return batch_id


@pytest.mark.every_server
async def test_a_batch_in_progress_is_gone_on_with(database_url: str) -> None:
    family = family_of(database_url)
    runs: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        assert job.payload == job.index
        runs[job.index] += 1

    async with await JobQueue.connect(database_url) as queue, observing.sql(database_url) as sql:
        await create_tables_of(1, queue, family)
        batch_id = await batch_in_progress(sql, family)
        await queue.create_tables()
        status = await queue.get_batch_status(batch_id)
        assert (status.total_jobs, status.completed_jobs, status.failed_jobs, status.running_jobs) == (30, 9, 1, 5)
        async with running(Worker(queue, "q", handler)):
            status = await finished(queue, batch_id)
        assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 29, 1)
        # What had an outcome does not run again; what a lost worker held does.
        assert runs == Counter([*range(10), *range(15, 23), 28, 29])
        (failed,) = await queue.get_batch_jobs(batch_id, status=None, after=22, limit=1)
        assert (failed.index, failed.priority, failed.attempts) == (23, Priority.NORMAL, 3)
        assert await queue.retry_failed(batch_id) == 1
        async with running(Worker(queue, "q", handler)):
            assert (await finished(queue, batch_id)).state is BatchState.COMPLETED
        assert await queue.delete_batch(batch_id)
        assert await sql.stored_rows() == {}
