"""A worker or an enqueuer of the version on the import path: ``versioned.py work|enqueue URL FILE``, until SIGTERM.

Each writes a line to FILE for what it did: a worker the batch and the index of each job that it ran, an enqueuer the id
of each batch that it stored.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TextIO

from hammerwork import IncompatibleDatabaseError, Job, JobBatch, JobQueue, RetryPolicy, RetryStrategy, Worker
from hammerwork.backends.migrating import VERSION
from hammerwork.processes import EXIT_INCOMPATIBLE

AT_ONCE = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0, max_seconds=0)


async def work(queue: JobQueue, file: TextIO, stopping: asyncio.Event) -> None:
    """Run jobs; every tenth one succeeds with its second attempt only."""

    async def handler(job: Job) -> None:
        await asyncio.sleep(0.001)
        if job.payload % 10 == 0 and job.attempt == 1:
            raise ValueError("once")
        file.write(f"{job.batch_id} {job.index}\n")

    worker = Worker(queue, "q", handler)
    task = asyncio.create_task(worker.run())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    worker.stop()
    await task


async def enqueue(queue: JobQueue, file: TextIO, stopping: asyncio.Event) -> None:
    """Store batches, small ones and such as come in slices."""
    number = 0
    while not stopping.is_set():
        number += 1
        jobs = [Job("q", n) for n in range(50 if number % 5 else 1_500)]
        batch = JobBatch(f"version {VERSION}", queue="q").with_retry_policy(AT_ONCE).with_batch_size(20)
        if number % 5:
            batch_id = await queue.enqueue_batch(batch.with_jobs(jobs))
        else:
            batch_id = await queue.enqueue_stream(batch, jobs)
        file.write(f"{batch_id}\n")
        file.flush()
        await asyncio.sleep(0.1)


async def main(role: str, url: str, file: TextIO) -> None:
    """Work until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        print("ready", VERSION, flush=True)
        await {"work": work, "enqueue": enqueue}[role](queue, file, stopping)


if __name__ == "__main__":
    with Path(sys.argv[3]).open("a") as ledger:
        try:
            asyncio.run(main(sys.argv[1], sys.argv[2], ledger))
        except IncompatibleDatabaseError:
            sys.exit(EXIT_INCOMPATIBLE)
