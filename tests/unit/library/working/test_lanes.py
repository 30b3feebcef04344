"""Lanes without a worker: what they tell of threads that hang, and of handlers that hold the event loop."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import TYPE_CHECKING

from hammerwork.working.holdings import Holdings
from hammerwork.working.lanes import Lanes
from tests.harness.waiting import happens
from tests.unit.library.working.holding import held

if TYPE_CHECKING:
    import pytest

    from hammerwork import Job


async def test_lanes_tell_how_many_threads_hang_and_when_no_job_can_start() -> None:
    releases = [threading.Event() for _ in range(6)]

    def handler(job: Job) -> None:
        releases[job.index].wait(40)

    holdings = Holdings()
    lanes = Lanes(handler, holdings, queue_name="q", count=2)
    claim = held(6, timeout_seconds=0.05)
    lanes.start()
    try:
        holdings.install(claim)
        await happens(lambda: lanes.hung == 4)
        assert (lanes.stuck, lanes.busy, claim.waiting) == (True, 2, 2)
        for index in (4, 5, 0):  # one thread is free again, so one lane is; the jobs left do not hang
            releases[index].set()
        await happens(lambda: claim.open == 0)
        assert (lanes.stuck, lanes.busy, lanes.hung) == (False, 1, 3)
        for release in releases:
            release.set()
        await happens(lambda: lanes.hung == 0)
        assert lanes.busy == 0
    finally:
        for release in releases:
            release.set()
        lanes.cancel()
        await asyncio.gather(*lanes.tasks, return_exceptions=True)
        lanes.close()
    assert (lanes.stats.jobs_processed, lanes.stats.jobs_failed) == (6, 4)


async def test_a_handler_that_has_held_the_loop_until_the_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that stops right afterwards does not look at the loop again."""

    async def handler(_job: Job) -> None:
        time.sleep(1.5)  # noqa: ASYNC251 (the point)

    holdings = Holdings()
    lanes = Lanes(handler, holdings, queue_name="q", count=1)
    claim = held(1)
    lanes.start()
    holdings.install(claim)
    while claim.open:
        await asyncio.sleep(0)
    lanes.cancel()
    lanes.close()
    await asyncio.gather(*lanes.tasks, return_exceptions=True)
    assert re.search(r"handler: the event loop was blocked for \d+\.\d s", caplog.text), caplog.text
