"""A worker's statistics, settings and log, and how it wakes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    Job,
    JobQueue,
    Worker,
)
from hammerwork.working.pump import FEW_JOBS
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs, failing_at
from tests.harness.observing import finished, happens, notifying, running

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.every_server
async def test_a_worker_counts_attempts(queue: JobQueue) -> None:
    worker = Worker(queue, "q", failing_at(0, 1))
    assert worker.get_batch_stats().success_rate() == 1.0
    batch_id = await queue.enqueue_batch(retried_at_once(10).with_max_attempts(2))
    async with running(worker):
        await finished(queue, batch_id)
        assert worker.healthy
        assert worker.ready
        assert worker.busy_lanes == 0
    stats = worker.get_batch_stats()
    assert (stats.jobs_processed, stats.jobs_completed, stats.jobs_failed) == (12, 8, 4)
    assert stats.success_rate() == pytest.approx(8 / 12)
    assert stats.average_processing_time_ms >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda worker: worker.with_concurrency(0), "worker of queue 'q': concurrency 0: must be at least 1"),
        (lambda worker: worker.with_poll_interval(0), "worker of queue 'q': poll interval 0 s: must be more than 0"),
    ],
)
async def test_settings_out_of_range_are_told(
    queue: JobQueue, change: Callable[[Worker], Worker], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        change(Worker(queue, "q", Runs()))


@pytest.mark.every_server
@notifying
@pytest.mark.usefixtures("notifications")
async def test_a_new_batch_wakes_an_idle_worker_without_polling(queue: JobQueue) -> None:
    runs = Runs()
    async with running(Worker(queue, "q", runs).with_poll_interval(3_600)):
        for n in range(1, 4):
            batch_id = await queue.enqueue_batch(retried_at_once(20).with_max_attempts(2))
            await finished(queue, batch_id)
            assert runs.started.total() == 20 * n


async def test_failed_jobs_are_logged_with_batch_and_index(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hammerwork.worker")
    batch_id = await queue.enqueue_batch(retried_at_once(3).with_max_attempts(1))
    async with running(Worker(queue, "q", failing_at(1))):
        await finished(queue, batch_id)
    assert f"job {batch_id}/1: attempt 1 of 1 failed: ValueError: job 1, attempt 1" in caplog.text


async def test_one_short_job_does_not_bring_all_others_here(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long jobs take is not known after the first one; what is claimed too early, no idle worker can start."""
    claimed: list[int] = []
    exchange = queue.backend.exchange

    async def watched(*arguments: Any, **options: Any) -> Any:
        answer = await exchange(*arguments, **options)
        claimed.append(sum(len(claim.indexes) for claim in answer.claims))
        return answer

    gate = asyncio.Event()

    async def handler(job: Job) -> None:
        if job.index:
            await gate.wait()

    monkeypatch.setattr(queue.backend, "exchange", watched)
    batch_id = await queue.enqueue_batch(retried_at_once(4_000))
    async with running(Worker(queue, "q", handler).with_concurrency(2)):
        await happens(lambda: sum(map(bool, claimed)) >= 2)
        gate.set()
        await finished(queue, batch_id)
    first, second = [jobs for jobs in claimed if jobs][:2]
    assert first == 2
    assert second <= 2 * FEW_JOBS
