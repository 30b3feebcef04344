"""Jobs that other programs run: a process for each, or lines for one that stays; and GNU parallel beside it."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

from benchmarks.ours.draining import drain
from benchmarks.payload import load_jobs
from benchmarks.processes import ProgramError
from hammerwork import JobQueue

if TYPE_CHECKING:
    from benchmarks.measuring import Load

PARALLEL = shutil.which("parallel")


async def commands(load: Load) -> dict[str, float]:
    """Run `true` for each job, with the payload on standard input."""
    return {"exec": await _drained(load, load.scaled(10_000, least=200), lanes=10, handler="exec")}


async def lines(load: Load) -> dict[str, float]:
    """Hand each job to a process that stays, 100 at a time."""
    return {"stream": await _drained(load, load.scaled(200_000, least=2_000), lanes=100, handler="stream")}


async def parallel(load: Load) -> dict[str, float]:
    """Have GNU parallel run `true` for each line."""
    assert PARALLEL is not None
    count = load.scaled(2_000, least=50)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(PARALLEL, "-j4", "true", stdin=asyncio.subprocess.PIPE)
    await process.communicate("".join(f"{number}\n" for number in range(count)).encode())
    if process.returncode != 0:
        raise ProgramError(f"parallel: {process.returncode} of {count:,} jobs failed")
    return {"exec": count / (time.perf_counter() - started)}


async def _drained(load: Load, count: int, *, lanes: int, handler: str) -> float:
    url = await load.server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        batch_id = await load_jobs(queue, count)
        await load.server.settle(url)
        drained = await drain(queue, url, batch_id, lanes=lanes, handler=handler)
    await load.server.drop_database(url)
    return count / drained.seconds
