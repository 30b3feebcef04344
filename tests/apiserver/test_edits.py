"""JobBatches that are edited, deleted and replaced while their jobs are being loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.apiserver.barrier import loading_stops_at
from tests.apiserver.lives import Handler
from tests.apiserver.workers import worker
from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch
from tests.harness.observing import sql
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest
    from tests.harness.servers import Server

STORED = 10_000
"""Jobs of the first slice."""
JOBS = 10_100
SUSPENSION = {"postgresql": "hammerwork_suspend_1", "mysql": "INTO @batch"}
"""Words of the statement that suspends a batch."""


def ready(expected: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready") == expected


def half_loaded(found: Manifest) -> bool:
    told = f"{STORED:,} of {JOBS:,} jobs loaded"
    return ready("False Loading")(found) and found["status"]["conditions"][0]["message"] == told


def stream(name: str, *, queue: str = "work", count: int = JOBS) -> Manifest:
    source = {"count": count, "payload": f"{name}.{{{{ index }}}}"}
    return jobbatch(name, queue=queue, generate=source, backoffLimit=0, batchSize=1_000)


@pytest.mark.also_on("mariadb")
async def test_a_batch_that_is_edited_or_deleted_while_it_loads(
    kubectl: Kubectl, operator: OperatorUnderTest, server: Server, with_database: str
) -> None:
    handler = Handler("edited.7")
    async with worker(with_database, handler), sql(with_database) as connection:

        async def stored(found: Manifest) -> tuple[int, int]:
            return await connection.stored_jobs(UUID(found["status"]["batchId"]))

        suspension = SUSPENSION[server.family]
        async with loading_stops_at(with_database, STORED):
            names = ("held", "edited", "deleted", "replaced")
            kubectl.apply(*(stream(name) for name in names))
            loading = {name: await kubectl.wait("jobbatch", name, half_loaded) for name in names}

            kubectl.patch("jobbatch", "held", {"spec": {"suspend": True}})
            await eventually(lambda: connection.waiting_for_locks(suspension), lambda count: count == 1)

            later = {"activeDeadlineSeconds": 3_600, "ttlSecondsAfterFinished": 7_200, "retry": {"attempt": 1}}
            kubectl.patch("jobbatch", "edited", {"spec": later})
            for field, value in (("priority", "High"), ("generate", {"count": 1}), ("jobs", [{"payload": 1}])):
                with pytest.raises(CommandError, match=f"{field} cannot be changed after creation"):
                    kubectl.patch("jobbatch", "edited", {"spec": {field: value}})

            kubectl.delete("jobbatch", "deleted")
            kubectl.delete("jobbatch", "replaced")
            kubectl.create(stream("replaced", queue="nobody", count=2_500))
            replaced = await kubectl.wait("jobbatch", "replaced", ready("True Running"))
            assert replaced["status"]["totalJobs"] == 2_500
            assert await stored(replaced) == (2_500, 2_500)
            for name in ("deleted", "replaced"):
                assert await stored(loading[name]) == (0, 0), name

        held = await kubectl.wait("jobbatch", "held", ready("True Suspended"))
        assert await stored(held) == (JOBS, JOBS)
        edited = await kubectl.wait("jobbatch", "edited", _ended_after_a_retry)
        assert await stored(edited) == (JOBS, JOBS)
        assert (edited["status"]["completedJobs"], edited["status"]["failedJobs"]) == (JOBS - 1, 1)
        assert handler.runs == {f"edited.{index}": 1 + (index == 7) for index in range(JOBS)}, "and none of the held"

        kubectl.patch("jobbatch", "held", {"spec": {"suspend": False}})
        await kubectl.wait("jobbatch", "held", lambda found: condition(found, "Succeeded") == "True Completed")
        assert len(handler.runs) == 2 * JOBS
        assert handler.runs.total() == 2 * JOBS + 1
        for name in ("held", "edited", "replaced"):
            await asyncio.to_thread(kubectl.delete, "jobbatch", name)
        assert await connection.stored_rows() == {}
    assert operator.running()


def _ended_after_a_retry(found: Manifest) -> bool:
    return "completionTime" in found["status"] and found["status"].get("retryAttempt") == 1
