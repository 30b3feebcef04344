"""A worker and the queue agree on what it holds; the living are not taken for dead, and only killers are blamed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState, Job, JobBatch, Worker
from hammerwork.backends.protocol import Settled, WorkerRecord
from tests.harness.batches import batch
from tests.harness.handlers import nothing
from tests.harness.observing import DEADLINE_SECONDS, eventually, finished, happens, running
from tests.harness.processes import started
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from uuid import UUID

    from hammerwork import JobQueue
    from hammerwork.working.claims import HeldClaim
    from tests.harness.observing import Sql


async def losses(sql: Sql) -> int:
    """Count the workers that are blamed on the only chunk there is."""
    ((last, before),) = await sql.rows("SELECT lost_by, lost_before FROM hammerwork_chunks")
    return sum(worker is not None for worker in (last, before))


async def test_a_claim_that_the_queue_has_forgotten_is_named(queue: JobQueue, sql: Sql) -> None:
    """As after a crash of a server that had not written its last commits."""
    await queue.enqueue_batch(batch(20))
    worker, other = SteeredWorker(queue), SteeredWorker(queue)
    await worker.register()
    kept, forgotten, others = await worker.take(2), await worker.take(3), await other.take(4)
    await sql.run("DELETE FROM hammerwork_claims WHERE id = $1", forgotten.claim.id)
    heard = await worker.heartbeat([kept, forgotten, others])
    assert heard.unknown == {forgotten.claim.id, others.claim.id}
    assert not heard.undelivered


async def test_a_worker_drops_what_the_queue_has_forgotten(
    queue: JobQueue, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    ran: list[UUID | None] = []

    async def handler(job: Job) -> None:
        ran.append(job.batch_id)
        if job.payload == "wait":
            await gate.wait()

    async with running(Worker(queue, "q", handler, lease_seconds=1.0).with_concurrency(2)):
        # After quick jobs it takes many at a time.
        await finished(queue, await queue.enqueue_batch(batch(1_000)))
        held = await queue.enqueue_batch(JobBatch("held").with_jobs(Job("q", "wait") for _ in range(100)))
        await happens(lambda: ran.count(held) == 2)
        assert (await queue.get_batch_status(held)).running_jobs == 100
        await sql.run("DELETE FROM hammerwork_claims")
        await happens(lambda: "lost" in caplog.text)
        gate.set()
        await finished(queue, await queue.enqueue_batch(batch(5)))
    assert ran.count(held) == 2, "what had not started was dropped"


async def test_claims_that_never_arrived_go_back_and_those_that_may_be_on_their_way_do_not(
    queue: JobQueue, sql: Sql
) -> None:
    batch_id = await queue.enqueue_batch(batch(30))
    worker = SteeredWorker(queue)
    await worker.register()
    held, lost = await worker.take(10), await worker.take(10)
    assert await worker.recover([held]) == 0
    await sql.age_claims()
    on_its_way = await worker.take(10)
    assert await worker.recover([held]) == lost.size
    assert (await queue.get_batch_status(batch_id)).running_jobs == 20
    assert await worker.end(lost) is Settled.LOST
    assert await worker.end(held) is Settled.OK
    assert await worker.end(on_its_way) is Settled.OK
    assert run_of(await worker.take()) == run_of(lost)


async def test_silence_counts_only_while_it_could_have_been_heard(queue: JobQueue, sql: Sql) -> None:
    """Nobody has done the upkeep for an hour, as in an outage: no lease is over when it begins again."""
    await queue.enqueue_batch(batch(5))
    worker = SteeredWorker(queue)
    await worker.heartbeat([], lease_seconds=3.0)
    await worker.take()
    await sql.run("UPDATE hammerwork_upkeep SET seen_at = seen_at - INTERVAL '1' HOUR")
    before = await sql.value("SELECT clock FROM hammerwork_upkeep")
    assert (await queue.backend.upkeep(1.0)).turn
    assert 0 < await sql.value("SELECT clock FROM hammerwork_upkeep") - before <= 2.0
    assert await queue.release_lost_claims() == 0


async def test_silence_begins_with_the_heartbeat(queue: JobQueue, sql: Sql) -> None:
    """The clock of the leases stands between two turns; the time since the last turn is no silence of a worker."""
    await queue.enqueue_batch(batch(5))
    worker = SteeredWorker(queue)
    await sql.run("UPDATE hammerwork_upkeep SET seen_at = seen_at - INTERVAL '1.9' SECOND")
    await worker.heartbeat([], lease_seconds=3.0)
    claim = await worker.take()
    assert (await queue.backend.upkeep(1.0)).turn
    await sql.run("UPDATE hammerwork_upkeep SET clock = clock + 1.5")
    assert await queue.release_lost_claims() == 0
    await sql.run("UPDATE hammerwork_upkeep SET clock = clock + 2")
    assert await queue.release_lost_claims() == claim.size


async def test_the_upkeep_is_done_once_a_turn(queue: JobQueue, sql: Sql) -> None:
    await sql.upkeep_is_due()
    turns = [done.turn for done in await asyncio.gather(*(queue.backend.upkeep(60.0) for _ in range(5)))]
    assert turns.count(True) == 1


async def test_each_worker_has_its_own_lease(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(10))
    patient, hasty = SteeredWorker(queue), SteeredWorker(queue)
    await patient.heartbeat([], lease_seconds=60.0)
    await hasty.heartbeat([], lease_seconds=3.0)
    kept, lost = await patient.take(4), await hasty.take(3)
    await sql.run("UPDATE hammerwork_upkeep SET clock = clock + 10")
    assert await queue.release_lost_claims() == lost.size
    assert await patient.end(kept) is Settled.OK
    await sql.run("UPDATE hammerwork_upkeep SET clock = clock + 60")
    assert await queue.release_lost_claims() == 0


async def make_suspect(queue: JobQueue, sql: Sql) -> None:
    """Let a worker die with the only job there is."""
    worker = SteeredWorker(queue)
    await worker.register()
    await worker.take()
    await worker.vanish(sql)
    assert await queue.release_lost_claims() == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_only_a_suspect_that_had_begun_to_run_is_blamed(queue: JobQueue, sql: Sql, begun: bool) -> None:
    await queue.enqueue_batch(batch(1))
    await make_suspect(queue, sql)
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take()
    assert held.claim.alone
    if begun:
        await worker.begin(held)
    await worker.vanish(sql)
    await queue.release_lost_claims()
    assert await losses(sql) == int(begun)


async def lose(queue: JobQueue, sql: Sql) -> tuple[SteeredWorker, HeldClaim]:
    """Let a worker vanish while it runs the only job there is, alone."""
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take()
    await worker.begin(held)
    await worker.vanish(sql)
    await queue.release_lost_claims()
    return worker, held


async def test_a_worker_that_comes_back_takes_the_blame_off_its_job(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(1))
    await make_suspect(queue, sql)
    worker, held = await lose(queue, sql)
    assert await losses(sql) == 1
    assert (await worker.heartbeat([held])).unknown == {held.claim.id}
    assert await losses(sql) == 0


async def test_it_does_so_also_when_it_was_heard_before_its_row_was_removed(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(1))
    await make_suspect(queue, sql)
    worker, held = await lose(queue, sql)
    still_there = SteeredWorker(queue)
    await still_there.register()
    await sql.run("UPDATE hammerwork_workers SET id = $1 WHERE id = $2", worker.id, still_there.id)
    await worker.heartbeat([held])
    assert await losses(sql) == 0


@pytest.mark.parametrize("returning", [(0,), (1,), (0, 1), (1, 0)])
async def test_each_of_two_lost_workers_can_come_back(queue: JobQueue, sql: Sql, returning: tuple[int, ...]) -> None:
    """With a third loss the job fails; it does not as long as one of the three has come back."""
    batch_id = await queue.enqueue_batch(batch(1).with_max_attempts(1))
    await make_suspect(queue, sql)
    lost = [await lose(queue, sql), await lose(queue, sql)]
    assert await losses(sql) == 2
    for which in returning:
        worker, held = lost[which]
        await worker.heartbeat([held])
    assert await losses(sql) == 2 - len(returning)
    await lose(queue, sql)
    assert (await queue.get_batch_status(batch_id)).failed_jobs == 0
    assert await losses(sql) == 3 - len(returning)
    if len(returning) == 1:
        await lose(queue, sql)
        assert (await queue.get_batch_status(batch_id)).failed_jobs == 1


async def test_a_handler_that_holds_the_event_loop_costs_no_lease(queue: JobQueue, database_url: str) -> None:
    runs: Counter[int] = Counter()

    async def holds(job: Job) -> None:
        runs[job.index] += 1
        time.sleep(3.0)  # noqa: ASYNC251 (the point)

    batch_id = await queue.enqueue_batch(batch(2).with_max_attempts(1))
    async with (
        started("tests.database.upkeeping", database_url),
        running(Worker(queue, "q", holds, lease_seconds=1.0).with_concurrency(1)),
    ):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 2)
    assert all(count == 1 for count in runs.values())


async def test_a_cancelled_worker_gives_back_and_deregisters(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(batch(20))
    ran: Counter[int] = Counter()

    async def hangs(job: Job) -> None:
        ran[job.index] += 1
        await asyncio.Event().wait()

    for _ in range(4):  # four deaths would have made a culprit of one of the jobs
        worker = Worker(queue, "q", hangs).with_concurrency(3)
        task = asyncio.create_task(worker.run())
        before = ran.total()

        def three_more(before: int = before) -> bool:
            return ran.total() >= before + 3

        await happens(three_more)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, DEADLINE_SECONDS)
        status = await queue.get_batch_status(batch_id)
        assert (status.running_jobs, status.pending_jobs) == (0, 20)
        assert await queue.get_workers() == []
    async with running(Worker(queue, "q", nothing)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (20, 0)


async def test_what_a_worker_did_is_counted_once_though_its_row_was_removed(queue: JobQueue, sql: Sql) -> None:
    worker = SteeredWorker(queue)
    line = await queue.backend.lifeline("q", lambda: None)
    try:

        async def beat(processed: int, known: WorkerRecord | None) -> WorkerRecord:
            record = WorkerRecord(
                id=worker.id, queue="q", pool="", instance="", lanes=1, lease_seconds=30, processed=processed
            )
            await line.heartbeat(record, known, [])
            return record

        known = await beat(1_000_000, None)
        await sql.run("DELETE FROM hammerwork_workers")
        known = await beat(1_000_001, known)
        await beat(1_000_001, known)
    finally:
        await line.close()
    assert (await queue.get_queue_statistics("q")).total_processed == 1_000_001


async def test_one_worker_after_the_other_looks_after_due_retries(queue: JobQueue) -> None:
    """The upkeep goes from a worker that ends to the next one at once."""
    for _ in range(3):
        failed: set[UUID | None] = set()

        async def fails_once(job: Job, failed: set[UUID | None] = failed) -> None:
            if job.batch_id not in failed:
                failed.add(job.batch_id)
                raise ValueError("once")

        async with running(Worker(queue, "q", fails_once)):
            started = time.monotonic()
            batch_id = await queue.enqueue_batch(batch(1))
            await finished(queue, batch_id)
            assert time.monotonic() - started < DEADLINE_SECONDS / 2


async def test_workers_are_listed_while_they_run(queue: JobQueue) -> None:
    async with running(Worker(queue, "q", nothing), Worker(queue, "q", nothing)):
        await eventually(lambda: queue.get_workers("q"), lambda workers: len(workers) == 2)
    assert await queue.get_workers("q") == []
