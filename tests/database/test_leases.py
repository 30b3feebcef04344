"""Workers that vanish: their jobs run elsewhere, and nothing that had been reported runs again."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import BatchState, Job, JobQueue, JobStatus, PartialFailureMode, Worker
from hammerwork.backends import upkeep
from hammerwork.backends.protocol import Settled
from tests.database.vanishing_worker import Order
from tests.harness.batches import batch
from tests.harness.handlers import nothing
from tests.harness.ledger import read_ledger
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, eventually, finished, happens, running
from tests.harness.processes import next_line, started
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hammerwork.working.claims import HeldClaim
    from tests.harness.observing import Sql


class VanishingWorker:
    """A worker process that does not end well."""

    def __init__(self, process: asyncio.subprocess.Process, worker_id: uuid.UUID) -> None:
        self.process = process
        self.id = worker_id

    async def ended(self) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await self.process.wait() == -9

    async def kill(self) -> None:
        self.process.kill()
        await self.ended()


@contextlib.asynccontextmanager
async def vanishing(order: Order) -> AsyncIterator[VanishingWorker]:
    async with started("tests.database.vanishing_worker", order) as process:
        yield VanishingWorker(process, uuid.UUID(await next_line(process)))


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Runs of jobs, noted by their handlers where the queue has no hand in it."""
    return str(tmp_path / "ledger")


def runs(ledger: str, outcome: str | None = None) -> Counter[int]:
    """Count the runs of each job; with an outcome, those that ended so."""
    seen = read_ledger(Path(ledger)).runs
    return Counter(run.job.index for run in seen if outcome in {None, run.outcome})


async def test_only_the_jobs_in_a_killed_workers_hands_run_again(
    queue: JobQueue, sql: Sql, ledger: str, database_url: str
) -> None:
    batch_id = await queue.enqueue_batch(batch(400).with_batch_size(50))
    async with vanishing(Order(database_url, ledger, hangs=(130, 131, 132, 133))) as worker:
        await happens(lambda: runs(ledger, "done").total() >= 130)
        await worker.kill()
    held = {job.index for job in await all_jobs(queue, batch_id, JobStatus.RUNNING)}
    before = await queue.get_batch_status(batch_id)
    assert held >= {130, 131, 132, 133}
    assert before.running_jobs == len(held)
    assert await queue.release_lost_claims() == 0, "its lease is not over yet"
    await sql.age_worker(worker.id)
    assert await queue.release_lost_claims() == len(held)
    after = await queue.get_batch_status(batch_id)
    assert (after.running_jobs, after.completed_jobs) == (0, before.completed_jobs)

    first = runs(ledger)
    second: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        second[job.index] += 1

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 400)
    assert set(first) | set(second) == set(range(400))
    assert set(second.values()) == {1}
    assert set(first.values()) == {1}
    assert set(first) & set(second) <= held


async def test_a_new_process_in_the_same_place_frees_what_the_old_one_held(
    queue: JobQueue, ledger: str, database_url: str
) -> None:
    batch_id = await queue.enqueue_batch(batch(4))
    async with vanishing(Order(database_url, ledger, instance="pod-1", hangs=(0, 1, 2, 3))) as worker:
        await happens(lambda: runs(ledger).total() == 4)
        await worker.kill()
    elsewhere = Worker(queue, "q", nothing, instance="pod-2")
    async with running(elsewhere):
        await happens(lambda: elsewhere.ready)
        assert (await queue.get_batch_status(batch_id)).running_jobs == 4
    async with running(Worker(queue, "q", nothing, instance="pod-1")):
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 4


async def test_a_late_owner_changes_nothing(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10, PartialFailureMode.FAIL_FAST).with_max_attempts(2))
    late, next_one = SteeredWorker(queue), SteeredWorker(queue)
    await late.register()
    await next_one.register()
    held = await late.take()
    for _ in range(3):
        held.complete(held.start())
    assert await late.report(held) is Settled.OK
    await late.vanish(sql)
    assert await queue.release_lost_claims() == 7
    again: HeldClaim = await next_one.take(2)
    before = (await queue.get_batch_status(batch_id), await sql.stored_rows())

    held.fail(held.start(), ValueError("late"))
    assert await late.report(held) is Settled.LOST
    assert await late.end(held, failing=run_of(held)) is Settled.LOST
    assert (await queue.get_batch_status(batch_id), await sql.stored_rows()) == before

    assert await next_one.end(again) is Settled.OK
    while (again_or_none := await next_one.claim()) is not None:
        await next_one.end(again_or_none)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED, 10, 0)


async def test_a_report_that_arrives_twice_counts_once(queue: JobQueue) -> None:
    """As after a connection that broke between the commit and the answer."""
    batch_id = await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take()
    for outcomes in (4, 6):
        for _ in range(outcomes):
            held.complete(held.start())
        report = held.report()
        answers = [(await queue.backend.exchange(worker.id, "q", [report], 0)).settled[held.claim.id] for _ in range(2)]
        assert answers == [Settled.OK, Settled.OK if held.open else Settled.LOST]
        held.confirm()
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 10)


async def test_a_job_that_kills_its_worker_each_time_fails_alone(
    queue: JobQueue, sql: Sql, ledger: str, database_url: str
) -> None:
    batch_id = await queue.enqueue_batch(batch(60))
    deaths = 0
    while not (await queue.get_batch_status(batch_id)).finished:
        assert deaths < 12, await queue.get_batch_status(batch_id)
        async with vanishing(Order(database_url, ledger, kills=(33,))) as worker:

            async def over(worker: VanishingWorker = worker) -> bool:
                status = await queue.get_batch_status(batch_id)
                return status.finished or worker.process.returncode is not None

            await eventually(over, bool)
            if worker.process.returncode is None:
                break
            await worker.ended()
        deaths += 1
        await sql.age_worker(worker.id)
        await queue.release_lost_claims()
    status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 59, 1)
    (failed,) = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert failed.error is not None
    assert (failed.index, failed.error.type) == (33, "WorkerLost")
    assert 3 <= deaths <= 8
    assert runs(ledger)[33] == deaths


async def test_a_job_fails_with_the_third_worker_that_vanishes_while_it_runs_alone(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(8))
    sizes = []
    while (await queue.get_batch_status(batch_id)).failed_jobs == 0:
        worker = SteeredWorker(queue)
        await worker.register()
        held = await worker.take(8)
        sizes.append(held.size)
        while held.claim.indexes[0] > 0:  # the first job is the culprit; the others are in another piece
            await worker.end(held)
            held = await worker.take(8)
            sizes[-1] = held.size
        if held.claim.alone:
            await worker.begin(held)
        await worker.vanish(sql)
        await queue.release_lost_claims()
    assert sizes == [8, 2, 1, 1, 1]
    while (held_or_none := await worker.claim()) is not None:
        await worker.end(held_or_none)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 7, 1)


@pytest.mark.parametrize("jobs", [1, 5], ids=["all of it", "a part"])
async def test_nobody_can_report_on_the_claim_of_another(queue: JobQueue, jobs: int) -> None:
    batch_id = await queue.enqueue_batch(batch(jobs))
    owner, other = SteeredWorker(queue), SteeredWorker(queue)
    held = await owner.take()
    held.complete(held.start())
    report = held.report()
    answer = await queue.backend.exchange(other.id, "q", [report], 0)
    assert answer.settled == {held.claim.id: Settled.LOST}
    assert (await queue.get_batch_status(batch_id)).completed_jobs == 0
    assert await owner.report(held) is Settled.OK
    assert (await queue.get_batch_status(batch_id)).completed_jobs == 1


async def test_a_suspect_runs_while_nothing_else_does(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(5))
    lost = SteeredWorker(queue)
    await lost.register()
    await lost.take(2)
    await lost.vanish(sql)
    assert await queue.release_lost_claims() == 2
    now: set[int] = set()
    with_suspect: list[set[int]] = []

    async def handler(job: Job) -> None:
        now.add(job.index)
        if now & {0, 1}:
            with_suspect.append(set(now))
        await asyncio.sleep(0.02)
        now.discard(job.index)

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    assert with_suspect in ([{0}, {1}], [{1}, {0}])


async def test_two_reapers_at_once_free_each_job_once(queue: JobQueue, sql: Sql, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(batch(2_000).with_batch_size(10))
    lost = SteeredWorker(queue)
    await lost.register()
    for _ in range(40):
        await lost.take(10)
    await lost.vanish(sql)
    async with await JobQueue.connect(database_url) as other:
        freed = await asyncio.gather(*(own.release_lost_claims() for own in (queue, other, queue, other)))
    assert sum(freed) == 400
    ran: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        ran[job.index] += 1

    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert status.completed_jobs == 2_000
    assert ran == dict.fromkeys(range(2_000), 1)


async def test_lost_workers_are_forgotten_as_soon_as_they_hold_nothing(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for the claims of lost workers would pass by all of those that have none any more."""
    monkeypatch.setattr(upkeep, "CLAIMS_PER_NOTICE", 1)
    await queue.enqueue_batch(batch(5).with_batch_size(1))
    for _ in range(5):
        worker = SteeredWorker(queue)
        await worker.register()
        await worker.take(1)
        await worker.vanish(sql)
    caller: Any = getattr(queue.backend, "_chores", queue.backend)
    fetch = caller.fetch
    workers: list[int] = []

    async def watched(query: str, *args: object) -> Sequence[Any]:
        rows: Sequence[Any] = await fetch(query, *args)
        if query == "forget_workers":
            workers.append(await sql.value("SELECT count(*) FROM hammerwork_workers"))
        return rows

    monkeypatch.setattr(caller, "fetch", watched)
    assert await queue.release_lost_claims() == 5
    # The next claim is freed before its queue is notified.
    assert workers == [3, 2, 1, 0, 0]


async def test_a_worker_that_lives_keeps_its_jobs(queue: JobQueue) -> None:
    await queue.enqueue_batch(batch(5))
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take()
    assert await queue.release_lost_claims() == 0
    assert await worker.end(held) is Settled.OK
