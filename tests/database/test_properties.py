"""Any sequence of operations, beside a model that only counts: after each step both have the same numbers."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchState,
    Job,
    JobBatch,
    JobFailedError,
    JobStatus,
    PartialFailureMode,
    Priority,
)
from hammerwork.backends.protocol import Settled
from tests.harness.batches import AT_ONCE
from tests.harness.observing import all_jobs
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from uuid import UUID

    from hammerwork import JobQueue
    from hammerwork.working.claims import HeldClaim
    from tests.harness.observing import Sql

STEPS = 400
SECONDS = 4.0
"""One seed ends after this time even if it has not made all its steps; each step is checked anyway."""


class ModelBatch:
    """What must be known of a batch to foretell its counts: where each of its jobs stands."""

    def __init__(self, jobs: int, mode: PartialFailureMode, max_attempts: int) -> None:
        self.mode = mode
        self.max_attempts = max_attempts
        self.jobs = dict.fromkeys(range(jobs), JobStatus.PENDING)
        self.attempts = dict.fromkeys(range(jobs), 1)
        self.losses = dict.fromkeys(range(jobs), 0)
        """Workers that vanished while they ran this job and nothing else."""
        self.stopped: BatchState | None = None
        self.suspended = False

    def move(self, index: int, status: JobStatus) -> None:
        if status is JobStatus.PENDING and self.stopped is not None:
            status = JobStatus.CANCELLED
        self.jobs[index] = status

    def fail(self, index: int) -> None:
        self.jobs[index] = JobStatus.FAILED
        if self.mode is PartialFailureMode.FAIL_FAST and self.stopped is None:
            self.stopped = BatchState.FAILED
            for other, status in self.jobs.items():
                if status is JobStatus.PENDING:
                    self.jobs[other] = JobStatus.CANCELLED

    def lose(self, index: int, *, started: bool) -> None:
        self.losses[index] += started
        if self.losses[index] == 3 and started and self.stopped is None:
            self.fail(index)
        else:
            self.move(index, JobStatus.PENDING)

    def stop(self, state: BatchState) -> None:
        if self.stopped is None and self.finished is None:
            self.stopped = state
            for index, status in self.jobs.items():
                if status is JobStatus.PENDING:
                    self.jobs[index] = JobStatus.CANCELLED

    @property
    def finished(self) -> BatchState | None:
        counts = Counter(self.jobs.values())
        if counts[JobStatus.RUNNING] or counts[JobStatus.PENDING]:
            return None
        if self.stopped is not None:
            return self.stopped
        return BatchState.COMPLETED_WITH_ERRORS if counts[JobStatus.FAILED] else BatchState.COMPLETED


class ModelClaim:
    def __init__(self, worker: SteeredWorker, held: HeldClaim) -> None:
        self.worker = worker
        self.held = held
        self.batch_id = held.claim.batch_id
        self.running: dict[int, None] = {}
        """Offsets of jobs that have started and not ended."""
        self.begun = False
        self.unreported: list[tuple[int, str]] = []
        self.open = set(held.claim.indexes)
        """Jobs that the queue takes for running."""


class Driver:
    """Makes one random step after the other, in the queue and in the model."""

    def __init__(self, queue: JobQueue, sql: Sql, seed: int) -> None:
        self.queue = queue
        self.sql = sql
        self.random = random.Random(seed)
        self.batches: dict[UUID, ModelBatch] = {}
        self.claims: list[ModelClaim] = []
        self.late: list[ModelClaim] = []
        """Claims that were taken away from their workers."""
        self.workers = [SteeredWorker(queue) for _ in range(3)]
        self.log: list[str] = []

    async def step(self) -> None:
        steps = {
            self.enqueue: 2 if len(self.batches) < 8 else 0,
            self.claim: 8,
            self.start: 8 if self.claims else 0,
            self.end: 12 if self.claims else 0,
            self.report: 8 if self.claims else 0,
            self.report_late: 3 if self.late else 0,
            self.give_back: 2 if self.claims else 0,
            self.lose_worker: 1,
            self.cancel: 1 if self.batches else 0,
            self.suspend: 2 if self.batches else 0,
            self.retry_failed: 1 if self.batches else 0,
            self.delete: 0.3 if self.batches else 0,
        }
        (step,) = self.random.choices(list(steps), list(steps.values()))
        self.log.append(step.__name__)
        await step()

    async def enqueue(self) -> None:
        jobs = self.random.choice([1, 3, 20, 60])
        mode = self.random.choice(list(PartialFailureMode))
        attempts = self.random.choice([1, 2, 3])
        batch = (
            JobBatch("any")
            .with_jobs(Job("q", n, self.random.choice(list(Priority))) for n in range(jobs))
            .with_batch_size(self.random.choice([1, 4, 100]))
            .with_partial_failure_handling(mode)
            .with_max_attempts(attempts)
            .with_retry_policy(AT_ONCE)
        )
        self.batches[await self.queue.enqueue_batch(batch)] = ModelBatch(jobs, mode, attempts)

    async def claim(self) -> None:
        worker = self.random.choice(self.workers)
        await worker.register()
        claimable = {
            (batch_id, index)
            for batch_id, batch in self.batches.items()
            if not batch.suspended and batch.stopped is None
            for index, status in batch.jobs.items()
            if status is JobStatus.PENDING
        }
        held = await worker.claim(self.random.choice([1, 2, 7, 100]))
        assert (held is not None) == bool(claimable), f"{held} of {claimable}"
        if held is None:
            return
        claim = ModelClaim(worker, held)
        batch = self.batches[claim.batch_id]
        for index in claim.open:
            assert (claim.batch_id, index) in claimable, f"job {index} is {batch.jobs[index]}"
            assert batch.attempts[index] == held.claim.attempt
            batch.jobs[index] = JobStatus.RUNNING
        self.claims.append(claim)

    async def start(self) -> None:
        claim = self.random.choice(self.claims)
        if claim.held.claim.alone and claim.held.waiting:
            claim.begun = await claim.worker.queue.backend.begin(claim.worker.id, claim.held.claim.id)
            assert claim.begun == (claim.batch_id in self.batches)
        for _ in range(min(claim.held.waiting, self.random.choice([1, 2, 50]))):
            claim.running[claim.held.start()] = None

    async def end(self) -> None:
        claim = self.random.choice(self.claims)
        while claim.running and self.random.random() < 0.8:
            offset = self.random.choice(list(claim.running))
            del claim.running[offset]
            fate = self.random.choice(["completed"] * 8 + ["failed", "failed for good"])
            if fate == "completed":
                claim.held.complete(offset)
            elif not claim.held.fail(offset, JobFailedError("x") if fate == "failed for good" else ValueError("x")):
                fate = "retried"
            claim.unreported.append((claim.held.claim.indexes[offset], fate))

    async def give_back(self) -> None:
        claim = self.random.choice(self.claims)
        waiting = range(claim.held.cursor, claim.held.size)
        claim.unreported += [(claim.held.claim.indexes[offset], "released") for offset in waiting]
        claim.held.release_waiting()

    async def report(self) -> None:
        claim = self.random.choice(self.claims)
        if not claim.held.has_news():
            return
        batch = self.batches.get(claim.batch_id)
        settled = await claim.worker.report(claim.held)
        if batch is None:
            assert settled is Settled.LOST
            self.claims.remove(claim)
            return
        # Failures last: what this report sends back to the queue is cancelled all the same if it stops the batch.
        for index, fate in sorted(claim.unreported, key=lambda outcome: outcome[1].startswith("failed")):
            claim.open.discard(index)
            if fate == "completed":
                batch.move(index, JobStatus.COMPLETED)
            elif fate == "released":
                batch.move(index, JobStatus.PENDING)
            elif fate == "retried":
                batch.attempts[index] += 1
                batch.losses[index] = 0
                batch.move(index, JobStatus.PENDING)
            else:
                batch.fail(index)
        claim.unreported = []
        assert settled is (Settled.STOPPED if batch.stopped or batch.suspended else Settled.OK)
        if not claim.open:
            self.claims.remove(claim)

    async def report_late(self) -> None:
        claim = self.late.pop()
        await claim.worker.end(claim.held) if claim.held.waiting else None
        for offset in claim.running:
            claim.held.complete(offset)
        if claim.held.has_news():
            assert await claim.worker.report(claim.held) is Settled.LOST

    async def lose_worker(self) -> None:
        """A worker dies, and its lease is over. What it had run and not reported runs again."""
        worker = self.random.choice(self.workers)
        await worker.vanish(self.sql)
        assert await self.queue.release_lost_claims() == self.lose_claims(worker)
        self.workers[self.workers.index(worker)] = SteeredWorker(self.queue)

    def lose_claims(self, worker: SteeredWorker) -> int:
        """Give back what a worker holds; a suspect that had begun to run is blamed."""
        held = [claim for claim in self.claims if claim.worker is worker]
        self.claims = [claim for claim in self.claims if claim.worker is not worker]
        lost = [claim for claim in held if claim.batch_id in self.batches]
        jobs = 0
        while lost:
            claim = lost.pop()
            self.late.append(claim)
            jobs += len(claim.open)
            for index in claim.open:
                self.batches[claim.batch_id].lose(index, started=claim.begun)
        return jobs

    async def cancel(self) -> None:
        batch_id = self.random.choice(list(self.batches))
        await self.queue.cancel_batch(batch_id)
        self.batches[batch_id].stop(BatchState.CANCELLED)

    async def suspend(self) -> None:
        batch_id = self.random.choice(list(self.batches))
        batch = self.batches[batch_id]
        batch.suspended = not batch.suspended
        await (self.queue.suspend_batch(batch_id) if batch.suspended else self.queue.resume_batch(batch_id))

    async def retry_failed(self) -> None:
        again = [
            batch_id
            for batch_id, batch in self.batches.items()
            if batch.finished in {BatchState.FAILED, BatchState.COMPLETED, BatchState.COMPLETED_WITH_ERRORS}
        ]
        if not again:
            return
        batch_id = self.random.choice(again)
        batch = self.batches[batch_id]
        wanted = [index for index, status in batch.jobs.items() if status is not JobStatus.COMPLETED]
        assert await self.queue.retry_failed(batch_id) == len(wanted)
        batch.stopped = None
        attempts = {job.index: job.attempts + 1 for job in await all_jobs(self.queue, batch_id)}
        for index in wanted:
            batch.jobs[index] = JobStatus.PENDING
            batch.attempts[index] = attempts[index]
            batch.losses[index] = 0

    async def delete(self) -> None:
        batch_id = self.random.choice(list(self.batches))
        assert await self.queue.delete_batch(batch_id)
        del self.batches[batch_id]

    async def check(self) -> None:
        statuses = await self.queue.get_batch_statuses(list(self.batches))
        assert statuses.keys() == self.batches.keys()
        for batch_id, batch in self.batches.items():
            status = statuses[batch_id]
            counts = Counter(batch.jobs.values())
            assert (
                status.pending_jobs,
                status.running_jobs,
                status.completed_jobs,
                status.failed_jobs,
                status.cancelled_jobs,
            ) == (
                counts[JobStatus.PENDING] + counts[JobStatus.RUNNING],
                counts[JobStatus.RUNNING],
                counts[JobStatus.COMPLETED],
                counts[JobStatus.FAILED],
                counts[JobStatus.CANCELLED],
            )
            assert (status.state if status.finished else None) == batch.finished
            assert status.suspended == batch.suspended
        if self.batches:
            batch_id = self.random.choice(list(self.batches))
            listed = {job.index: job.status for job in await all_jobs(self.queue, batch_id)}
            assert listed == self.batches[batch_id].jobs
            wanted = self.random.choice(list(JobStatus))
            assert [job.index for job in await all_jobs(self.queue, batch_id, wanted)] == [
                index for index, status in sorted(listed.items()) if status is wanted
            ]

    async def drain(self) -> None:
        """Whatever state the steps left: everything that may run can be run to the end."""
        worker = SteeredWorker(self.queue)
        await worker.register()
        for old in self.workers:
            await old.vanish(self.sql)
            assert await self.queue.release_lost_claims() == self.lose_claims(old)
        await self.check()
        for batch_id, batch in self.batches.items():
            if batch.suspended:
                await self.queue.resume_batch(batch_id)
                batch.suspended = False
        while (held := await worker.claim()) is not None:
            await worker.end(held)
            for index in run_of(held):
                self.batches[held.claim.batch_id].move(index, JobStatus.COMPLETED)
        await self.check()
        for batch_id, status in (await self.queue.get_batch_statuses(list(self.batches))).items():
            assert status.finished, f"{status} cannot end"
            assert status.pending_jobs == 0
            assert await self.queue.delete_batch(batch_id)
        assert await self.sql.stored_rows() == {}


@pytest.mark.parametrize("seed", range(4))
async def test_counts_equal_a_models_after_every_step(queue: JobQueue, sql: Sql, seed: int) -> None:
    driver = Driver(queue, sql, seed)
    end = time.monotonic() + SECONDS
    for _ in range(STEPS):
        try:
            await driver.step()
            await driver.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after {' '.join(driver.log)}: {error}") from error
        if time.monotonic() > end:
            break
    await driver.drain()
