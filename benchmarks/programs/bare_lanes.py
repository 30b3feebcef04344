"""The sleeps of `handlers-10ms` without a queue: ``bare_lanes JOBS LANES SECONDS``.

The event loop rounds timers up, so that even these take longer than they should.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop


async def main(count: int, lanes: int, seconds: float) -> None:
    """Print how long the sleeps take when each lane begins the next one at once."""
    numbers = iter(range(count))

    async def lane() -> int:
        slept = 0
        for _ in numbers:
            await asyncio.sleep(seconds)
            slept += 1
        return slept

    started = time.perf_counter()
    slept = sum(await asyncio.gather(*(lane() for _ in range(lanes))))
    print(json.dumps({"jobs": slept, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
