"""Creating the tables: by several programs at once, again, and by whoever comes first."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from hammerwork import DatabaseRefusedError, DatabaseUnavailableError, Job, JobBatch, JobQueue
from hammerwork.backends import migrating
from hammerwork.backends.mysql import migrate as mysql_migrate
from hammerwork.backends.postgres import migrate as postgres_migrate
from tests.harness import observing
from tests.harness.observing import DEADLINE_SECONDS, with_functions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_eight_programs_may_create_the_tables_at_once(database_url: str) -> None:
    queues = [await JobQueue.connect(database_url) for _ in range(8)]
    try:
        await asyncio.gather(*(queue.create_tables() for queue in queues))
        await asyncio.gather(*(queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)])) for queue in queues))
        assert (await queues[0].get_queue_depths())["q"].ready == 8
    finally:
        for queue in queues:
            await queue.close()


async def test_creating_the_tables_again_changes_nothing(queue: JobQueue, database_url: str) -> None:
    await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(5)))
    async with observing.sql(database_url) as sql:
        query = "SELECT name, checksum, applied_at FROM hammerwork_migrations ORDER BY name"
        before = await sql.rows(query)
        assert before
        await queue.create_tables()
        assert await sql.rows(query) == before
    assert (await queue.get_queue_depths())["q"].ready == 5


async def test_a_database_without_tables_is_told(database_url: str) -> None:
    async with await JobQueue.connect(database_url) as queue:
        with pytest.raises(DatabaseUnavailableError, match="tables missing or out of date"):
            await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))


@with_functions
async def test_changed_functions_replace_the_old_ones(queue: JobQueue, database_url: str) -> None:
    async with observing.sql(database_url) as sql:
        await sql.run("UPDATE hammerwork_migrations SET checksum = 'old' WHERE name = 'functions'")
        await sql.run("DROP FUNCTION hammerwork_tick_1(int)")
        await queue.create_tables()
        await queue.backend.upkeep(0.0)
        assert await sql.value("SELECT checksum FROM hammerwork_migrations WHERE name = 'functions'") != "old"


@contextlib.asynccontextmanager
async def somebody_migrating(database_url: str) -> AsyncIterator[None]:
    """The lock of a migration is held during the block."""
    async with observing.sql(database_url) as sql:
        if database_url.startswith("postgres"):
            await sql.run("BEGIN")
            await sql.rows("SELECT pg_advisory_xact_lock($1::bigint)", postgres_migrate._LOCK)
        else:
            for statement in mysql_migrate._CREATE_LEDGER.decode().split(";"):
                await sql.run(statement)
            await sql.run("COMMIT")
            for statement in mysql_migrate._LOCK_LEDGER.decode().split(";"):
                await sql.run(statement)
        yield
        await sql.run("COMMIT")


async def test_a_migration_waits_for_a_lock_in_turns(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants a table that a migration waits for would wait behind it, for as long as the lock is held."""
    monkeypatch.setattr(migrating, "LOCK_SECONDS", 1)
    async with await JobQueue.connect(database_url) as queue:
        async with somebody_migrating(database_url):
            creation = asyncio.create_task(queue.create_tables())
            await asyncio.wait([creation], timeout=3.5)
            assert not creation.done()
        await asyncio.wait_for(creation, DEADLINE_SECONDS)
        await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))


async def test_a_migration_does_not_wait_for_ever(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "LOCK_SECONDS", 1)
    monkeypatch.setattr(migrating, "MIGRATION_SECONDS", 2.0)
    async with await JobQueue.connect(database_url) as queue, somebody_migrating(database_url):
        with pytest.raises(DatabaseUnavailableError, match=r"(?i)lock"):
            await asyncio.wait_for(queue.create_tables(), DEADLINE_SECONDS)


async def test_tables_of_before_the_first_release_are_refused(database_url: str) -> None:
    async with observing.sql(database_url) as sql, await JobQueue.connect(database_url) as queue:
        await sql.run("CREATE TABLE hammerwork_migrations (name varchar(255) PRIMARY KEY, checksum varchar(64))")
        with pytest.raises(DatabaseRefusedError, match="of a version before the first release, and cannot be upgraded"):
            await queue.create_tables()


async def test_a_database_that_only_newer_versions_can_work_with_is_refused(queue: JobQueue, database_url: str) -> None:
    async with observing.sql(database_url) as sql:
        await sql.run("UPDATE hammerwork_migrations SET version = 99, least = 98")
        with pytest.raises(DatabaseRefusedError, match="of version 99, which version 98 or later can work with"):
            await queue.create_tables()
        await sql.run("UPDATE hammerwork_migrations SET version = 99, least = 1, checksum = 'of a newer process'")
        await queue.create_tables()
        assert await sql.value("SELECT count(*) FROM hammerwork_migrations WHERE version < 99") == 0
