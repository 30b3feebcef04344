"""Lanes without a worker: what they tell of threads that hang."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from hammerwork.working.holdings import Holdings
from hammerwork.working.lanes import Lanes
from tests.harness.waiting import happens
from tests.unit.library.working.holding import held

if TYPE_CHECKING:
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
