"""Does the upkeep of a database ten times a second, as an operator does once: ``upkeeping.py URL``."""

from __future__ import annotations

import asyncio
import sys

from hammerwork import JobQueue


async def main(url: str) -> None:
    async with await JobQueue.connect(url) as queue:
        while True:
            await queue.backend.upkeep(0.1)
            await queue.release_lost_claims()
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
