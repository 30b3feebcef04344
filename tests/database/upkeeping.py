"""A process that does the upkeep of a database ten times a second, as an operator does once. It is told its URL."""

from __future__ import annotations

import asyncio

from hammerwork import JobQueue
from tests.harness.processes import told


async def main(url: str) -> None:
    async with await JobQueue.connect(url) as queue:
        while True:
            await queue.backend.upkeep(0.1)
            await queue.release_lost_claims()
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(told(str)))
