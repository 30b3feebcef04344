"""In which order jobs run, how many at a time, and how many one worker takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hammerwork import (
    Job,
    JobBatch,
    JobQueue,
    Priority,
    Worker,
)
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs
from tests.harness.observing import finished, happens, running


@pytest.mark.every_server
async def test_higher_priorities_run_first_across_batches(queue: JobQueue) -> None:
    seen: list[tuple[str, Priority]] = []
    names = {}
    for name, priority in [("a", Priority.LOW), ("b", Priority.CRITICAL), ("c", Priority.NORMAL), ("d", Priority.LOW)]:
        jobs = [Job("q", n, priority) for n in range(3)]
        names[await queue.enqueue_batch(JobBatch(name).with_jobs(jobs))] = name

    async def handler(job: Job) -> None:
        assert job.batch_id is not None
        seen.append((names[job.batch_id], job.priority))

    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        for batch_id in names:
            await finished(queue, batch_id)
    assert [name for name, _ in seen] == list("bbbcccaaaddd")


@pytest.mark.parametrize("lanes", [1, 3, 20])
async def test_no_more_jobs_run_at_a_time_than_there_are_lanes(queue: JobQueue, lanes: int) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(100))

    async def then(_job: Job) -> None:
        await asyncio.sleep(0.002)

    runs = Runs(then)
    async with running(Worker(queue, "q", runs).with_concurrency(lanes)):
        await finished(queue, batch_id)
    assert runs.most == lanes
    assert runs.started == dict.fromkeys(range(100), 1)


@pytest.mark.parametrize(("batch_processing", "size", "most"), [(True, 7, 7), (True, 1_000, 500), (False, 1_000, 1)])
async def test_a_claim_takes_at_most_the_batch_size(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, batch_processing: bool, size: int, most: int
) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(500).with_batch_size(size))
    sizes: list[int] = []
    exchange = queue.backend.exchange

    async def recording(*args: Any) -> Any:
        answer = await exchange(*args)
        sizes.extend(len(claim.indexes) for claim in answer.claims)
        return answer

    monkeypatch.setattr(queue.backend, "exchange", recording)
    worker = Worker(queue, "q", Runs()).with_batch_processing_enabled(batch_processing)
    async with running(worker):
        await finished(queue, batch_id)
    assert sum(sizes) == 500
    assert max(sizes) <= most
    assert len(sizes) > 1


async def test_a_busy_worker_does_not_sit_on_jobs_that_an_idle_one_could_run(queue: JobQueue) -> None:
    """Job 40 hangs until all others have run; they can only run elsewhere."""
    batch_id = await queue.enqueue_batch(retried_at_once(200))
    rest = asyncio.Event()

    async def then(job: Job) -> None:
        if job.index == 40:
            await rest.wait()

    runs = Runs(then)
    async with running(*(Worker(queue, "q", runs).with_concurrency(1) for _ in range(2))):
        await happens(lambda: runs.ended.total() == 199)
        rest.set()
        await finished(queue, batch_id)
    assert runs.started == dict.fromkeys(range(200), 1)
