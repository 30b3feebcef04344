"""Round trips for a thousand jobs, counted by a proxy between the program and the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.payload import MAX_BATCH_SIZE, QUEUE, load_jobs, make_batch, make_jobs
from benchmarks.processes import ProgramError
from hammerwork import JobQueue, Worker
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from benchmarks.measuring import Load
    from hammerwork import Job


async def _noop(job: Job) -> None:
    pass


async def round_trips(load: Load) -> dict[str, float]:
    """Count for a batch, a stream, and a worker, once each has its connection and its prepared statements."""
    count = load.scaled(100_000, least=20_000)
    url = await load.server.fresh_database()
    async with proxy(url) as (relay, proxied), await JobQueue.connect(proxied, max_connections=1) as queue:
        await queue.create_tables()
        jobs = list(make_jobs(MAX_BATCH_SIZE))
        for number in range(2):
            before = relay.bursts
            await queue.enqueue_batch(make_batch(f"batch {number}").with_jobs(jobs))
        of_batch = relay.bursts - before
        await load_jobs(queue, 20_000)
        before = relay.bursts
        await load_jobs(queue, count)
        of_stream = relay.bursts - before
    async with (
        await JobQueue.connect(url) as outside,
        proxy(url) as (relay, proxied),
        await JobQueue.connect(proxied) as queue,
    ):
        worker = Worker(queue, QUEUE, _noop)
        running = asyncio.create_task(worker.run())
        batches = await outside.list_batches()
        ends = [await outside.wait(batch.batch_id, timeout=300) for batch in batches]
        worker.stop()
        await running
        of_drain = relay.bursts
    total = sum(batch.total_jobs for batch in batches)
    if not total == sum(end.completed_jobs for end in ends) == worker.get_batch_stats().jobs_completed:
        raise ProgramError(f"round trips: {total:,} jobs, but {ends} and {worker.get_batch_stats()}")
    await load.server.drop_database(url)
    return {
        "round-trips-batch": of_batch,
        "round-trips-stream": of_stream * 1000 / count,
        "round-trips-drain": of_drain * 1000 / total,
    }
