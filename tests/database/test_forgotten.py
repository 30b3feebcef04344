"""Whoever knows that a worker's process is gone frees what it held, before its lease is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork import JobStatus
from hammerwork.backends.protocol import Settled
from hammerwork.timing import HEARTBEATS_PER_LEASE, LEASE_SECONDS, SILENT_HEARTBEATS
from tests.harness.batches import batch
from tests.harness.observing import all_jobs
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from hammerwork import JobQueue
    from tests.harness.observing import Sql

SILENT_SECONDS = LEASE_SECONDS / HEARTBEATS_PER_LEASE * SILENT_HEARTBEATS


async def held_by(queue: JobQueue) -> dict[str, int]:
    return {worker.instance: worker.jobs_held for worker in await queue.get_workers()}


async def test_workers_of_an_instance_are_forgotten_with_their_processes(queue: JobQueue) -> None:
    """No other worker is: not one whose instance only begins with the same letters."""
    batch_id = await queue.enqueue_batch(batch(40).with_batch_size(10))
    workers = {instance: SteeredWorker(queue) for instance in ("pod-1", "pod-1/0", "pod-10", "pod-2/1")}
    for instance, worker in workers.items():
        await worker.register(instance=instance)
        await worker.take(10)
    assert await held_by(queue) == dict.fromkeys(workers, 10)

    assert await queue.forget_workers(["pod-1", "pod-3"], certain=True) == set()
    assert await held_by(queue) == {"pod-10": 10, "pod-2/1": 10}
    assert len(await all_jobs(queue, batch_id, JobStatus.RUNNING)) == 20
    assert await queue.forget_workers([], certain=True) == set()
    assert await queue.forget_workers(["pod-2", "pod-10"], certain=True) == set()
    assert (await queue.get_batch_status(batch_id)).running_jobs == 0


async def test_a_worker_that_was_heard_of_stays_unless_its_end_is_certain(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    await worker.register(instance="pod-1")
    held = await worker.take()
    assert await queue.forget_workers(["pod-1"], certain=False) == {"pod-1"}
    silent_for = "UPDATE hammerwork_workers SET heard = (SELECT clock FROM hammerwork_upkeep) - $1"
    await sql.run(silent_for, SILENT_SECONDS - 0.5)
    assert await queue.forget_workers(["pod-1"], certain=False) == {"pod-1"}
    assert (await queue.get_batch_status(batch_id)).running_jobs == 10
    await sql.run(silent_for, SILENT_SECONDS + 0.5)
    assert await queue.forget_workers(["pod-1"], certain=False) == set()
    assert (await queue.get_batch_status(batch_id)).running_jobs == 0
    assert await worker.end(held) is Settled.LOST


async def test_a_job_that_ran_alone_is_blamed_for_the_loss_of_a_forgotten_worker(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(1))
    alone = []
    for number in range(4):
        worker = SteeredWorker(queue)
        await worker.register(instance=f"pod-{number}")
        held = await worker.take()
        alone.append(held.claim.alone)
        if held.claim.alone:
            await worker.begin(held)
        assert await queue.forget_workers([f"pod-{number}"], certain=True) == set()
    assert alone == [False, True, True, True]
    (failed,) = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert failed.error is not None
    assert failed.error.type == "WorkerLost"
