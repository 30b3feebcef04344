"""An outage that is longer than the leases of many workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from hammerwork import Job, JobBatch, JobQueue, Worker
from tests.harness.observing import finished, happens, running
from tests.harness.proxy import proxy

WORKERS = 20
LANES = 4
LEASE_SECONDS = 3.0
OUTAGE_SECONDS = 8.0
QUICK_JOBS = 2_000


async def test_an_outage_beyond_the_lease_repeats_nothing(database_url: str) -> None:
    ran: Counter[int] = Counter()
    over = asyncio.Event()

    async def handler(job: Job) -> None:
        ran[job.index] += 1
        if job.payload == "long":
            await over.wait()
        else:
            await asyncio.sleep(0.02)

    jobs = [Job("q", "long").as_critical() for _ in range(WORKERS * LANES // 2)]
    jobs += [Job("q", "quick") for _ in range(QUICK_JOBS)]
    async with contextlib.AsyncExitStack() as stack:
        queue = await stack.enter_async_context(await JobQueue.connect(database_url))
        await queue.create_tables()
        network, url = await stack.enter_async_context(proxy(database_url))
        queues = [await stack.enter_async_context(await JobQueue.connect(url)) for _ in range(2)]
        workers = [
            Worker(queues[n % 2], "q", handler, lease_seconds=LEASE_SECONDS).with_concurrency(LANES)
            for n in range(WORKERS)
        ]
        async with running(*workers):
            await happens(lambda: all(worker.ready for worker in workers))
            batch_id = await queue.enqueue_batch(JobBatch("mail").with_jobs(jobs).with_batch_size(20))
            await happens(lambda: ran.total() > WORKERS * LANES + 200)
            network.hold()
            await asyncio.sleep(OUTAGE_SECONDS)
            network.cut()
            network.deliver()
            await happens(lambda: all(worker.ready for worker in workers))
            over.set()
            status = await finished(queue, batch_id)
    assert status.completed_jobs == len(jobs)
    assert ran == dict.fromkeys(range(len(jobs)), 1)
