"""Stops those who change a batch in the database, so that tests can act while a change is half done."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hammerwork import JobQueue
from tests.harness import observing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_POSTGRES = (
    "SELECT pg_advisory_lock(20010)",
    """
    CREATE FUNCTION test_barrier() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(20010);
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER test_barrier BEFORE UPDATE ON hammerwork_batches
        FOR EACH ROW WHEN ({stopped}) EXECUTE FUNCTION test_barrier()
    """,
)
_MYSQL = (
    "SELECT GET_LOCK(DATABASE(), 0)",
    """
    CREATE TRIGGER test_barrier BEFORE UPDATE ON hammerwork_batches FOR EACH ROW
    IF {stopped} THEN
        DO GET_LOCK(DATABASE(), 3600);
        DO RELEASE_LOCK(DATABASE());
    END IF
    """,
)


@contextlib.asynccontextmanager
async def loading_stops_at(database_url: str, jobs: int) -> AsyncIterator[None]:
    """While the block runs, no batch in the database gets more than `jobs` jobs: who stores the next slice waits."""
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
    async with _barrier(database_url, f"NEW.total > {jobs}"):
        yield


@contextlib.asynccontextmanager
async def retries_stop(database_url: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """While the block runs, whoever begins a retry waits in its transaction; yield what counts those who wait."""
    async with _barrier(database_url, "NEW.retry_attempt > OLD.retry_attempt") as connection:
        yield connection.waiting_for_advisory_locks


@contextlib.asynccontextmanager
async def _barrier(database_url: str, stopped: str) -> AsyncIterator[observing.Sql]:
    # The lock goes with its connection; the trigger stays and stops nobody any more.
    async with observing.sql(database_url) as connection:
        for statement in _POSTGRES if database_url.startswith("postgres") else _MYSQL:
            await connection.run(statement.format(stopped=stopped))
        yield connection
