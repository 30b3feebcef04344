"""A worker whose lease may be over takes no jobs, as they would be given to others; who is to blame when one is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobQueue, Worker
from tests.harness.observing import finished, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hammerwork.backends.protocol import Heard, Lifeline, WorkerRecord
    from tests.harness.observing import Sql


async def test_a_worker_that_is_not_heard_of_claims_nothing(queue: JobQueue, database_url: str) -> None:
    ran: list[str] = []

    def handler(name: str) -> Callable[[Job], Awaitable[None]]:
        async def handle(_job: Job) -> None:
            ran.append(name)

        return handle

    async with await JobQueue.connect(database_url) as own:
        open_lifeline, may_beat = own.backend.lifeline, threading.Event()
        may_beat.set()

        async def lifeline(name: str, wake: Callable[[], None]) -> Lifeline:
            line = await open_lifeline(name, wake)
            beat = line.heartbeat

            async def heartbeat(worker: WorkerRecord, known: WorkerRecord | None, held: Sequence[int]) -> Heard:
                await happens(may_beat.is_set)
                return await beat(worker, known, held)

            line.heartbeat = heartbeat  # type: ignore[method-assign]
            return line

        own.backend.lifeline = lifeline  # type: ignore[method-assign, assignment]
        jobs = [Job("q", n) for n in range(5)]
        unheard = Worker(own, "q", handler("unheard"), lease_seconds=1.0)
        async with running(unheard):
            await happens(lambda: unheard.ready)
            may_beat.clear()
            await happens(lambda: not unheard.ready)
            first = await queue.enqueue_batch(JobBatch("mail").with_jobs(jobs))
            async with running(Worker(queue, "q", handler("other"), lease_seconds=1.0)):
                await finished(queue, first)
            assert ran == ["other"] * 5
            may_beat.set()
            await finished(queue, await queue.enqueue_batch(JobBatch("mail").with_jobs(jobs)))
            assert ran[5:] == ["unheard"] * 5


async def test_a_suspect_that_was_still_waiting_is_not_to_blame(queue: JobQueue, sql: Sql) -> None:
    """A worker runs a suspect after everything else that it holds; what kills it before that was something else."""
    suspect = await queue.enqueue_batch(JobBatch("suspect").with_jobs([Job("q", None)]))

    async def vanish_with_suspect(*, waiting: bool) -> None:
        worker = SteeredWorker(queue)
        await worker.register()
        if waiting:
            other = await queue.enqueue_batch(JobBatch("other").with_jobs([Job("q", None).as_critical()]))
            assert (await worker.take()).claim.batch_id == other
        held = await worker.take()
        assert held.claim.batch_id == suspect
        if held.claim.alone and not waiting:
            await worker.begin(held)
        await worker.vanish(sql)
        await queue.release_lost_claims()
        if waiting:
            await queue.delete_batch(other)

    await vanish_with_suspect(waiting=False)  # from now on it is handed out alone
    for _ in range(4):
        await vanish_with_suspect(waiting=True)
    for _ in range(2):
        await vanish_with_suspect(waiting=False)
    status = await queue.get_batch_status(suspect)
    assert (status.failed_jobs, status.pending_jobs) == (0, 1)
    await vanish_with_suspect(waiting=False)
    (error,) = await queue.get_batch_errors(suspect)
    assert error.type == "WorkerLost"
