"""A worker: ``work URL LANES noop|sleep|clock|exec|stream``. Starts with the first line, stops with the next.

``sleep`` waits for the payload's ``seconds``; ``clock`` notes when it was called, for each payload's ``number``;
``exec`` runs `true`; ``stream`` hands jobs to `benchmarks.programs.answer`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from benchmarks.memory import peak_resident_bytes
from benchmarks.payload import QUEUE
from hammerwork import JobQueue, Worker
from hammerwork.handlers import ExecHandler, StreamHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork import Job
    from hammerwork.handlers import Handler

calls: dict[int, float] = {}


async def noop(job: Job) -> None:
    """Do nothing."""


async def sleep(job: Job) -> None:
    """Take as long as the job says."""
    await asyncio.sleep(job.payload["seconds"])


async def clock(job: Job) -> None:
    """Note the time."""
    calls[job.payload["number"]] = time.time()


HANDLERS: dict[str, Callable[[], Handler]] = {
    "noop": lambda: noop,
    "sleep": lambda: sleep,
    "clock": lambda: clock,
    "exec": lambda: ExecHandler(["true"]),
    "stream": lambda: StreamHandler([sys.executable, "-m", "benchmarks.programs.answer"]),
}


async def main(url: str, lanes: int, handler: str) -> None:
    """Work, and print what was done."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with await JobQueue.connect(url) as queue:
        await queue.ping()
        worker = Worker(queue, QUEUE, HANDLERS[handler]()).with_concurrency(lanes)
        print("ready", flush=True)
        await lines.readline()
        running = asyncio.create_task(worker.run())
        await lines.readline()
        worker.stop()
        await running
    stats = worker.get_batch_stats()
    print(json.dumps({"jobs": stats.jobs_completed, "calls": list(calls.items()), "peak_bytes": peak_resident_bytes()}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
