"""How fast a JobBatch gets on: real API server, real operator process, real PostgreSQL, real worker."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch

if TYPE_CHECKING:
    from hammerwork import Job
    from tests.harness.kubectl import Kubectl

TOLD = {"jobsPerSecond", "estimatedCompletionTime"}


async def brief(_: Job) -> None:
    await asyncio.sleep(0.05)


@pytest.mark.usefixtures("operator")
async def test_a_batch_says_how_fast_it_gets_on_while_it_runs(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("long", generate={"count": 1_000_000, "payload": 1}, batchSize=10))
    async with worker(with_database, brief):
        running = await kubectl.wait("jobbatch", "long", lambda found: found.get("status", {}).keys() >= TOLD)
        kubectl.patch("jobbatch", "long", {"spec": {"suspend": True}})
        held = await kubectl.wait("jobbatch", "long", lambda found: condition(found, "Ready") == "True Suspended")
    status = running["status"]
    assert 0 < status["jobsPerSecond"] < 1_000, "ten at a time, each for 0.05 s"
    ends = datetime.fromisoformat(status["estimatedCompletionTime"])
    at_least = status["pendingJobs"] / status["jobsPerSecond"]
    assert (ends - datetime.fromisoformat(status["startTime"])).total_seconds() >= at_least * 0.99
    assert held["status"].keys() & TOLD == set()
