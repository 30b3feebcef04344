"""What a worker says of itself while its event loop is held, and when its threads hang."""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, Worker
from hammerwork.working import worker as working
from tests.harness.observing import DEADLINE_SECONDS, finished, happens, one_server, running

if TYPE_CHECKING:
    import pytest

    from hammerwork import JobQueue

pytestmark = one_server


def seen_from_outside(worker: Worker, seconds: float) -> tuple[threading.Thread, list[bool]]:
    """Look at a worker's health from another thread for some time, as a probe does; `run` is held meanwhile."""
    seen: list[bool] = []

    def look() -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen.append(worker.healthy)
            time.sleep(0.05)

    thread = threading.Thread(target=look)
    thread.start()
    return thread, seen


async def test_a_worker_whose_handler_holds_the_event_loop_is_healthy_for_longer_than_an_idle_one(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Probes would kill it, and with it the job; the warning tells who holds the loop, and for how long."""
    monkeypatch.setattr(working, "STUCK_SECONDS", 0.3)
    looks: list[tuple[threading.Thread, list[bool]]] = []

    async def holding(_job: Job) -> None:
        looks.append(seen_from_outside(worker, 1.5))
        time.sleep(2)  # noqa: ASYNC251 (that is the fault)

    caplog.set_level(logging.WARNING, "hammerwork.worker")
    worker = Worker(queue, "q", holding)
    async with running(worker):
        await finished(queue, await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)])))
        await happens(lambda: "holding" in caplog.text)
    ((thread, seen),) = looks
    thread.join()
    assert len(seen) >= 3
    assert all(seen)
    held = re.search(r"handler \S*holding\S*.*?(\d+\.\d) s", caplog.text)
    assert held is not None, caplog.text
    assert float(held[1]) > 1.5, "it held the loop for two seconds"


async def test_a_worker_whose_event_loop_does_not_turn_is_not_healthy(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, nothing of a user holds it; and a handler may not hold it for ever."""

    looks: list[bool] = []

    async def holding(_job: Job | None) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while worker.healthy and time.monotonic() < deadline:
            time.sleep(0.05)  # noqa: ASYNC251 (the fault)
        looks.append(worker.healthy)

    monkeypatch.setattr(working, "STUCK_SECONDS", 1.5)
    monkeypatch.setattr(working, "STUCK_BUSY_SECONDS", 1.5)
    worker = Worker(queue, "q", holding)
    async with running(worker):
        await happens(lambda: worker.ready and worker.healthy)
        await holding(None)
        await happens(lambda: worker.healthy)
        await finished(queue, await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)])))
    assert looks == [False, False]


async def test_a_worker_is_not_healthy_when_all_threads_it_may_have_hang(queue: JobQueue) -> None:
    """As many hang as there are lanes, and as many that took their places: no further job can start."""
    gate = threading.Event()

    def hanging(_job: Job) -> None:
        gate.wait(60)

    worker = Worker(queue, "q", hanging).with_concurrency(2).with_shutdown_grace_period(0.1)
    given = JobBatch("b").with_timeout(0.2).with_max_attempts(1).with_jobs(Job("q", n) for n in range(8))
    async with running(worker):
        await happens(lambda: worker.ready)
        assert worker.healthy
        await queue.enqueue_batch(given)
        await happens(lambda: not worker.healthy)
        gate.set()
        await happens(lambda: worker.healthy)
