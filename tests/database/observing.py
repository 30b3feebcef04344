"""How tests watch and wait: every wait has a deadline and tells what it saw last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from hammerwork import BatchStatus, JobQueue, JobRecord, JobStatus, Worker

T = TypeVar("T")

DEADLINE_SECONDS = 40.0
"""Far beyond what anything here takes, on the slowest machine: it only bounds a test that has failed already."""


async def eventually(
    look: Callable[[], Awaitable[T]], until: Callable[[T], object], *, within: float = DEADLINE_SECONDS
) -> T:
    """Look again and again until what is seen is as it should be; return it."""
    deadline = time.monotonic() + within
    while not until(seen := await look()):
        assert time.monotonic() < deadline, f"after {within} s still: {seen!r}"
        await asyncio.sleep(0.02)
    return seen


async def happens(condition: Callable[[], object], *, within: float = DEADLINE_SECONDS) -> None:
    """Return once a condition in this process holds."""

    async def look() -> object:
        return condition()

    await eventually(look, bool, within=within)


async def finished(queue: JobQueue, batch_id: UUID, *, within: float = DEADLINE_SECONDS) -> BatchStatus:
    """Return the status of a batch once nothing of it can run any more."""

    async def look() -> BatchStatus:
        return await queue.get_batch_status(batch_id)

    return await eventually(look, lambda status: status.finished, within=within)


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Run workers during a block, then stop them; whatever ends one before is raised."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*tasks)


async def all_jobs(queue: JobQueue, batch_id: UUID, status: JobStatus | None = None) -> list[JobRecord]:
    """Read all jobs of a batch, page by page."""
    jobs: list[JobRecord] = []
    while page := await queue.get_batch_jobs(
        batch_id, status=status, after=jobs[-1].index if jobs else -1, limit=10_000
    ):
        jobs += page
    return jobs


class Sql:
    """A connection of the test's own, for what the library does not show."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def value(self, query: str, *args: object) -> Any:
        return await self._connection.fetchval(query, *args)

    async def rows(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(query, *args)]

    async def run(self, query: str, *args: object) -> None:
        await self._connection.execute(query, *args)

    async def stored_rows(self) -> dict[str, int]:
        """Count the rows of each table that holds something of a batch; tables without rows are left out."""
        tables = ["batches", "jobs", "chunks", "claims", "failures"]
        counts = {table: await self.value(f"SELECT count(*) FROM hammerwork_{table}") for table in tables}
        return {table: count for table, count in counts.items() if count}


@contextlib.asynccontextmanager
async def sql(url: str) -> AsyncIterator[Sql]:
    connection = await asyncpg.connect(url)
    try:
        yield Sql(connection)
    finally:
        await connection.close()
