"""Stops the loading of batches at a given job, so that tests can act while a batch is half loaded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg

from hammerwork import JobQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_KEY = 20_010


@contextlib.asynccontextmanager
async def loading_stops_at(database_url: str, jobs: int) -> AsyncIterator[None]:
    """While the block runs, no batch in the database gets more than `jobs` jobs: who stores the next slice waits."""
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({_KEY})")
        await connection.execute(
            f"""
            CREATE FUNCTION test_barrier() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock_shared({_KEY});
                RETURN NEW;
            END $$;
            CREATE TRIGGER test_barrier BEFORE UPDATE ON hammerwork_batches
                FOR EACH ROW WHEN (NEW.total > {jobs}) EXECUTE FUNCTION test_barrier()
            """
        )
        yield
    finally:
        await connection.close()  # its lock goes with it; the trigger stays and stops nobody any more
