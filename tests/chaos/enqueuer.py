"""Programs that enqueue: several at a time for one batch, and one that is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from hammerwork import JobQueue
from hammerwork.errors import DatabaseUnavailableError
from tests.chaos.plan import BatchPlan
from tests.harness.processes import next_line, started, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
SMALL_BATCH_JOBS = 1_000
"""Larger ones are streamed."""
_RETRY_SECONDS = 0.2
_FINGERPRINT = "the same"
_FIRST_SLICE_SECONDS = 15.0


class EnqueueOrder(msgspec.Struct):
    """What a process is told."""

    database_url: str
    batch: BatchPlan


async def until_available(operation: Callable[[], Awaitable[T]]) -> T:
    """Repeat an operation until the database is there; the caller sets the deadline."""
    while True:
        try:
            return await operation()
        except DatabaseUnavailableError:
            await asyncio.sleep(_RETRY_SECONDS)


async def enqueue(
    database_url: str, batch: BatchPlan, *, progress: Callable[[int], Awaitable[None]] | None = None
) -> None:
    """Enqueue a batch as a program of its own would, however often it takes."""

    async def once() -> None:
        async with await JobQueue.connect(database_url, connect_timeout=5) as queue:
            if len(batch.deeds) > SMALL_BATCH_JOBS:
                await queue.enqueue_stream(
                    batch.settings(),
                    batch.jobs(),
                    batch_id=batch.batch_id,
                    fingerprint=_FINGERPRINT,
                    progress=progress,
                )
            else:
                whole = batch.settings().with_jobs(batch.jobs())
                await queue.enqueue_batch(whole, batch_id=batch.batch_id, fingerprint=_FINGERPRINT)

    await until_available(once)


async def enqueue_twice(database_url: str, batch: BatchPlan) -> None:
    """Enqueue the same batch from two programs at the same time."""
    await asyncio.gather(enqueue(database_url, batch), enqueue(database_url, batch))


async def enqueue_killed(database_url: str, batch: BatchPlan) -> None:
    """Enqueue from a process that is killed as soon as something of the batch is stored, or after a while anyway."""
    async with started("tests.chaos.enqueuer", EnqueueOrder(database_url, batch)) as process:
        with contextlib.suppress(TimeoutError):
            await next_line(process, within=_FIRST_SLICE_SECONDS)


def _main() -> None:
    order = told(EnqueueOrder)

    async def tell(stored: int) -> None:
        print(stored, flush=True)

    asyncio.run(enqueue(order.database_url, order.batch, progress=tell))


if __name__ == "__main__":
    _main()
