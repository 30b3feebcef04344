"""JobBatches that vanish, or go back to an older state, while the operator is at work for them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases.followed import FollowedQueue
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.kube.situation import Obstacle, ready
from hammerwork_operator.metrics import Metrics
from tests.harness.waiting import eventually
from tests.unit.operator.builders import NOW, batch, manifest, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from hammerwork import BatchStatus, JobBatch, JobQueue

Manifest = dict[str, Any]


class Gate:
    """Where a request waits, from the time on that it is shut."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.opened.set()

    async def passed(self) -> None:
        if not self.opened.is_set():
            self.reached.set()
            await self.opened.wait()


class Server(ApiServer):
    """Takes every status, and has the objects in the versions that it is given."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.statuses: dict[str, Manifest] = {}
        self.deleted: list[str] = []
        self.gate = Gate()

    async def request(self, method: str, path: str, body: Any = None, **_: Any) -> Manifest:
        name = path.split("/")[-2 if path.endswith("/status") else -1]
        if path.endswith("/status"):
            await self.gate.passed()
            self.statuses[name] = {**self.statuses.get(name, {}), **body["status"]}
            return {"metadata": {"resourceVersion": "100"}}
        if path.endswith("/events"):
            return {}
        if method == "DELETE":
            self.deleted.append(name)
            return {}
        if method == "GET" and name in self.objects:
            return self.objects[name]
        raise ApiError(404, f"{method} {path}")


class Rows:
    """A queue that keeps of each batch that it is running."""

    def __init__(self) -> None:
        self.rows: dict[UUID, BatchStatus] = {}
        self.gate = Gate()

    async def get_batch_statuses(self, batch_ids: list[UUID]) -> dict[UUID, BatchStatus]:
        await self.gate.passed()
        return {each: self.rows[each] for each in batch_ids if each in self.rows}

    async def enqueue_batch(self, given: JobBatch, *, batch_id: UUID, fingerprint: str) -> None:
        self.rows[batch_id] = row(batch(), batch_id=batch_id, queue=given.queue, fingerprint=fingerprint)

    async def enqueue_stream(self, given: JobBatch, _jobs: Any, *, batch_id: UUID, fingerprint: str, **_: Any) -> None:
        await self.enqueue_batch(given, batch_id=batch_id, fingerprint=fingerprint)


class OneDatabase(Databases):
    """All Secrets lead to one database, which cannot be used now."""

    def __init__(self, server: Server, metrics: Metrics) -> None:
        super().__init__(server, metrics)
        self.one = FollowedQueue(cast("JobQueue", None))
        self.one.obstacle = Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True)
        self.gate = Gate()
        self.resting: set[str] = set()

    async def database(self, namespace: str, ref: Any) -> FollowedQueue:  # noqa: ARG002
        await self.gate.passed()
        return self.one

    def rest(self, namespace: str, ref: Any, batch_id: Any, check: Any) -> None:  # noqa: ARG002
        self.resting.add(str(batch_id))

    def unrest(self, namespace: str, ref: Any, batch_id: Any) -> None:  # noqa: ARG002
        self.resting.discard(str(batch_id))


class Setting:
    def __init__(self) -> None:
        self.server, metrics = Server(), Metrics()
        self.databases = OneDatabase(self.server, metrics)
        self.batches = JobBatchController(self.server, self.databases, metrics)

    async def told(self, name: str) -> str | None:
        """Return the reason that the last status of the object has."""
        await until_quiet()
        assert name in self.server.statuses, f"only {list(self.server.statuses)} have one"
        found = ready(self.server.statuses[name])
        return None if found is None else str(found["reason"])


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    made = Setting()
    async with contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(made.databases.close)
        ends.push_async_callback(made.batches.stop)
        yield made


async def until_quiet() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def finished(reason: str = "Completed", kind: str = "Complete") -> Manifest:
    return {
        "batchId": str(batch(name="first").batch_id),
        "completionTime": timestamp(NOW),
        "conditions": [
            {"type": each, "status": "True", "reason": reason, "message": "", "lastTransitionTime": timestamp(NOW)}
            for each in ("Enqueued", kind)
        ],
    }


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_object_that_vanishes_while_the_database_is_asked_is_not_followed(
    replaced: bool, setting: Setting
) -> None:
    gate = setting.databases.gate
    gate.opened.clear()
    setting.batches.seen(manifest())
    await asyncio.wait_for(gate.reached.wait(), 10)
    if replaced:
        setting.batches.seen(manifest({"queue": "other"}, uid="uid-2"))
    setting.batches.seen(manifest(), deleted=True)
    gate.opened.set()
    await until_quiet()
    assert setting.databases.one.followed == int(replaced)


async def test_an_object_that_vanishes_while_its_end_is_written_does_not_rest_in_the_database(
    setting: Setting,
) -> None:
    setting.batches.seen({**manifest(name="first"), "status": finished("JobFailed", "Failed")})
    await until_quiet()
    at_rest = set(setting.databases.resting)
    waits = manifest({"dependsOn": [{"name": "first"}]})
    setting.server.gate.opened.clear()
    setting.batches.seen(waits)
    await asyncio.wait_for(setting.server.gate.reached.wait(), 10)
    setting.batches.seen(waits, deleted=True)
    setting.server.gate.opened.set()
    assert await setting.told("welcome") == "DependencyFailed"
    assert setting.databases.resting == at_rest


async def test_a_dependency_that_went_back_to_an_older_state_is_waited_for_again(setting: Setting) -> None:
    """So it is after etcd was restored from a copy, until the database of the dependency answers."""
    setting.batches.seen({**manifest(name="first", resourceVersion="20"), "status": finished()})
    await until_quiet()
    setting.databases.gate.opened.clear()
    older = manifest(name="first", resourceVersion="5")
    setting.server.objects["first"] = older
    setting.batches.seen(older)
    await asyncio.wait_for(setting.databases.gate.reached.wait(), 10)
    setting.batches.seen(manifest({"dependsOn": [{"name": "first"}]}))
    assert await setting.told("welcome") == "DependencyNotReady"


async def test_an_object_that_comes_again_while_the_database_is_asked_is_not_loaded_as_another_batch(
    setting: Setting,
) -> None:
    """Which batch it is depends on its ConfigMaps; the watch brings it without their digest until the status has it."""
    queue = Rows()
    queue.gate.opened.clear()
    setting.databases.one = FollowedQueue(cast("JobQueue", queue))
    found = manifest({"configMapRefs": [{"name": "shard", "key": "jobs.ndjson"}]})
    del found["spec"]["jobs"]
    setting.server.objects = {"welcome": found, "shard": {"metadata": {"name": "shard"}, "data": {"jobs.ndjson": "1"}}}
    setting.batches.seen(found)
    await queue.gate.reached.wait()
    setting.batches.seen({**found, "metadata": {**found["metadata"], "resourceVersion": "8"}})
    queue.gate.opened.set()
    await until_quiet()
    written = setting.server.statuses["welcome"]
    assert "contentDigest" in written
    assert [str(batch_id) for batch_id in queue.rows] == [written["batchId"]]


async def test_a_dependency_outlives_its_time_until_all_that_may_wait_for_it_were_seen(setting: Setting) -> None:
    """The process before may have ended between the end of the one and the note of the other."""

    async def deleted() -> list[str]:
        return setting.server.deleted

    over = manifest({"ttlSecondsAfterFinished": 0}, name="first", creationTimestamp=timestamp(NOW))
    setting.batches.seen({**over, "status": finished()})
    await until_quiet()
    assert await deleted() == []
    setting.batches.seen(manifest({"dependsOn": [{"name": "first"}]}))
    setting.batches.listed()
    assert await setting.told("welcome") == "DatabaseUnavailable"
    assert setting.server.statuses["welcome"]["satisfiedDependencies"] == ["first"]
    await eventually(deleted, lambda found: found == ["first"], within=20)


async def test_a_batch_that_needs_to_wait_no_longer_is_loaded_and_says_so_at_once(setting: Setting) -> None:
    """Not only when the watch has brought the status that records it, nor after the pause between two statuses."""
    setting.databases.one = FollowedQueue(cast("JobQueue", Rows()))
    waits = manifest({"dependsOn": [{"name": "first"}]})
    setting.server.objects["welcome"] = waits
    setting.batches.seen({**manifest(name="first"), "status": finished()})
    setting.batches.seen(waits)
    assert await setting.told("welcome") == "Running"
