"""A process that enqueues 50,000 jobs and hangs halfway, so that a test can kill it there; it says so before."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from hammerwork import Job, JobBatch, JobQueue
from tests.harness.batches import stream
from tests.harness.processes import told

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(msgspec.Struct):
    """What the process is told."""

    database_url: str
    batch_id: UUID
    hang_in: str
    """``slice``: while a slice is made; ``progress``: after one was stored."""


def hang() -> None:
    print("hanging", flush=True)
    time.sleep(3_600)


async def main(order: Order) -> None:
    def jobs() -> Iterator[Job]:
        for n, job in enumerate(stream(50_000)):
            if order.hang_in == "slice" and n == 25_000:
                hang()
            yield job

    async def progress(stored: int) -> None:
        if order.hang_in == "progress" and stored == 20_000:
            hang()

    async with await JobQueue.connect(order.database_url) as queue:
        batch = JobBatch("big", queue="q")
        await queue.enqueue_stream(batch, jobs(), batch_id=order.batch_id, progress=progress)


if __name__ == "__main__":
    asyncio.run(main(told(Order)))
