"""Statuses that are not what the database says: it has gone back to an older state, or somebody has written them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hammerwork import JobQueue
from tests.apiserver.barrier import loading_stops_at
from tests.apiserver.workers import worker
from tests.harness import observing
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

TABLES = ("batches", "pages", "ready", "chunks", "claims", "failures")
THREE = [{"payload": n} for n in range(3)]


async def save(url: str) -> None:
    """Keep the state of the queue, as a backup does, or a replica that falls behind."""
    async with observing.sql(url) as connection:
        if not url.startswith("postgres"):  # or else it waits for the rows that a load has locked
            await connection.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        for table in TABLES:
            await connection.run(f"CREATE TABLE saved_{table} AS SELECT * FROM hammerwork_{table}")


async def go_back(url: str) -> None:
    """Put the queue into the state that was kept."""
    numbered = "OVERRIDING SYSTEM VALUE" if url.startswith("postgres") else ""
    async with observing.sql(url) as connection:
        await connection.run("START TRANSACTION")
        for table in TABLES:
            await connection.run(f"DELETE FROM hammerwork_{table}")
            await connection.run(f"INSERT INTO hammerwork_{table} {numbered} SELECT * FROM saved_{table}")
        await connection.run("COMMIT")


def complete(found: Manifest) -> bool:
    return condition(found, "Complete") == "True Completed"


def edit(kubectl: Kubectl, name: str, **status: Any) -> None:
    patch = json.dumps({"status": status})
    kubectl("patch", "jobbatch", name, "--subresource=status", "--type=merge", "--patch", patch)


@pytest.mark.usefixtures("operator")
async def test_a_database_in_an_older_state_is_followed(kubectl: Kubectl, with_database: str) -> None:
    def ready(wanted: str) -> Any:
        return lambda found: condition(found, "Ready") == wanted

    kubectl.create(jobbatch("done", jobs=THREE))
    await kubectl.wait("jobbatch", "done", ready("True Running"))
    async with loading_stops_at(with_database, 10_000):
        kubectl.create(jobbatch("loaded", generate={"count": 25_000, "payload": "{{ index }}"}, suspend=True))
        await kubectl.wait("jobbatch", "loaded", lambda found: "10,000 of 25,000" in json.dumps(found["status"]))
        await save(with_database)
    await kubectl.wait("jobbatch", "loaded", ready("True Suspended"))
    kubectl.create(jobbatch("late", jobs=THREE, suspend=True))
    await kubectl.wait("jobbatch", "late", ready("True Suspended"))
    async with worker(with_database):
        await kubectl.wait("jobbatch", "done", complete)

    await go_back(with_database)
    missing = await kubectl.wait("jobbatch", "late", ready("False RowsMissing"))
    assert missing["status"]["totalJobs"] == 3
    again = await kubectl.wait("jobbatch", "done", ready("True Running"))
    assert (again["status"]["completedJobs"], condition(again, "Complete")) == (0, "False Running")
    assert "completionTime" not in again["status"]
    back = await kubectl.wait("jobbatch", "loaded", ready("True Suspended"))
    assert back["status"]["totalJobs"] == 25_000
    async with await JobQueue.connect(with_database) as queue:
        assert (await queue.get_batch_status(UUID(back["status"]["batchId"]))).total_jobs == 25_000
    async with worker(with_database):
        await kubectl.wait("jobbatch", "done", complete)
    rolled_back = "Warning DatabaseRolledBack"
    await kubectl.wait_events("done", "Normal Enqueued", "Normal Completed", rolled_back, "Normal Completed")


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_a_status_written_by_hand_is_repaired_from_the_database(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("done", jobs=THREE))
    async with worker(with_database):
        true = await kubectl.wait("jobbatch", "done", complete)
    edit(kubectl, "done", completedJobs=2, failedJobs=999, completionTime="2020-01-01T00:00:00Z")
    repaired = await kubectl.wait("jobbatch", "done", lambda found: found["status"]["failedJobs"] == 0)
    assert repaired["status"] == true["status"]
    await kubectl.wait_events("done", "Normal Enqueued", "Normal Completed", "Warning StatusEdited")
    edit(kubectl, "done", conditions=None, completionTime=None)
    await kubectl.wait("jobbatch", "done", complete)

    # Who says that a batch has ended has not ended it.
    kubectl.create(jobbatch("live", jobs=THREE))
    running = await kubectl.wait("jobbatch", "live", lambda found: condition(found, "Ready") == "True Running")
    now = true["status"]["completionTime"]
    ended = {"type": "Complete", "status": "True", "reason": "Mine", "message": "", "lastTransitionTime": now}
    edit(kubectl, "live", conditions=[*running["status"]["conditions"], ended], completionTime=now)
    repaired = await kubectl.wait("jobbatch", "live", lambda found: condition(found, "Complete") == "False Running")
    assert "completionTime" not in repaired["status"]
    async with worker(with_database):
        await kubectl.wait("jobbatch", "live", complete)
    await kubectl.wait_events("live", "Normal Enqueued", "Warning StatusEdited", "Normal Completed")

    # What nobody knows any more cannot be repaired.
    async with await JobQueue.connect(with_database) as queue:
        await queue.delete_batch(UUID(true["status"]["batchId"]))
    edit(kubectl, "done", completedJobs=1)

    async def told() -> int:
        return (await asyncio.to_thread(kubectl.events, "done")).count("Warning StatusEdited")

    await eventually(told, lambda count: count == 2, every=0.2)
    assert kubectl.get("jobbatch", "done")["status"]["completedJobs"] == 1
