"""Threads that hang, and an event loop that is blocked."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from hammerwork import Job, JobQueue, Worker, batch_handler
from tests.harness.batches import tried_once
from tests.harness.observing import DEADLINE_SECONDS, finished, happens, one_server, running

pytestmark = one_server


async def test_threads_that_hang_are_replaced_and_named(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    started = []

    def handler(job: Job) -> None:
        started.append(job.batch_id)
        if job.batch_id == hanging:
            release.wait(DEADLINE_SECONDS)

    hanging = await queue.enqueue_batch(tried_once(2, 0.2))
    other = await queue.enqueue_batch(tried_once(1, 10.0))
    worker = Worker(queue, "q", handler).with_concurrency(2)
    try:
        async with running(worker):
            assert (await finished(queue, hanging)).failed_jobs == 2
            assert (await finished(queue, other)).completed_jobs == 1
            assert worker.busy_lanes == 0
            release.set()
    finally:
        release.set()
    assert started == [hanging, hanging, other]
    (told,) = [record.getMessage() for record in caplog.records if "cannot be interrupted" in record.getMessage()]
    assert "test_threads_that_hang_are_replaced_and_named.<locals>.handler: a job has timed out" in told
    assert "1 such threads are stuck" in told


async def test_as_many_threads_as_lanes_are_replaced_then_jobs_wait(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    started = []

    def handler(job: Job) -> None:
        started.append(job.batch_id)
        if job.batch_id == hanging:
            release.wait(DEADLINE_SECONDS)

    def stuck() -> bool:
        return any("all 4 threads are stuck" in record.getMessage() for record in caplog.records)

    hanging = await queue.enqueue_batch(tried_once(4, 0.2))
    waiting = await queue.enqueue_batch(tried_once(4, 2.0))
    worker = Worker(queue, "q", handler).with_concurrency(2)
    try:
        async with running(worker):
            await happens(stuck)
            assert worker.busy_lanes == 2
            await asyncio.sleep(2.5)  # longer than a job may take
            assert started == [hanging] * 4
            release.set()
            assert (await finished(queue, waiting)).completed_jobs == 4
            assert (await finished(queue, hanging)).failed_jobs == 4
            await happens(lambda: worker.busy_lanes == 0)
    finally:
        release.set()


@pytest.mark.parametrize("kind", ["async", "waiting", "batch"])
async def test_no_job_starts_before_the_loop_has_turned_when_one_has_held_it(
    queue: JobQueue, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Otherwise all lanes hold it one after the other, and heartbeats and probes wait for all of them."""
    turns = 0
    at_start: list[int] = []

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def handler(_argument: Any) -> None:
        if kind == "waiting":
            await asyncio.sleep(0)
        at_start.append(turns)
        time.sleep(1.3)  # noqa: ASYNC251 (the point)

    counting = asyncio.create_task(count_turns())
    batch_id = await queue.enqueue_batch(tried_once(4).with_batch_size(1))
    worker = Worker(queue, "q", batch_handler(handler) if kind == "batch" else handler).with_concurrency(4)
    async with running(worker.with_batch_processing_enabled(False) if kind == "batch" else worker):
        await finished(queue, batch_id)
    counting.cancel()
    if kind != "waiting":  # those had all started before the first one held the loop
        assert len(set(at_start)) == 4, at_start
    (told,) = [record for record in caplog.records if "the event loop was blocked" in record.getMessage()]
    assert told.levelno == logging.WARNING
    assert "test_no_job_starts_before_the_loop_has_turned_when_one_has_held_it.<locals>.handler" in told.getMessage()
