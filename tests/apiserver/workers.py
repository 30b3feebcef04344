"""Workers that run in the test's own process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hammerwork import JobQueue, Worker
from tests.harness.handlers import nothing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hammerwork import Job

STOP_SECONDS = 30.0


@asynccontextmanager
async def worker(
    url: str, handler: Callable[[Job], Awaitable[None]] = nothing, *, queue: str = "work"
) -> AsyncIterator[Worker]:
    """Run a worker for the duration of the block."""
    async with await JobQueue.connect(url) as connected:
        running = Worker(connected, queue, handler).with_poll_interval(0.05)
        task = asyncio.create_task(running.run())
        try:
            yield running
        finally:
            running.stop()
            async with asyncio.timeout(STOP_SECONDS):
                await task
