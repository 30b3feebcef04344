"""A worker whose lease may be over takes no jobs: they would be taken away again while it runs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobQueue, Worker
from tests.database.observing import finished, happens, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork.backends.protocol import WorkerRecord


async def test_a_worker_that_is_not_heard_of_claims_nothing(database_url: str) -> None:
    ran: list[str] = []

    def handler(name: str) -> Callable[[Job], Awaitable[None]]:
        async def handle(_job: Job) -> None:
            ran.append(name)

        return handle

    async with await JobQueue.connect(database_url) as queue, await JobQueue.connect(database_url) as own:
        await queue.create_tables()
        beat, may_beat = own.backend.heartbeat, asyncio.Event()
        may_beat.set()

        async def heartbeat(worker: WorkerRecord) -> None:
            await may_beat.wait()
            await beat(worker)

        own.backend.heartbeat = heartbeat  # type: ignore[method-assign]
        batch = JobBatch("mail").with_jobs(Job("q", n) for n in range(5))
        unheard = Worker(own, "q", handler("unheard"), lease_seconds=1.0)
        async with running(unheard):
            await happens(lambda: unheard.ready)
            may_beat.clear()
            await happens(lambda: not unheard.ready)
            first = await queue.enqueue_batch(batch)
            async with running(Worker(queue, "q", handler("other"), lease_seconds=1.0)):
                await finished(queue, first)
            assert ran == ["other"] * 5
            may_beat.set()
            await finished(queue, await queue.enqueue_batch(batch))
            assert ran[5:] == ["unheard"] * 5
