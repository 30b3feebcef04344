"""Lives of objects from their creation to their deletion, each on a stage of its own."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from hammerwork import JobQueue
from tests.harness.kubectl import condition
from tests.harness.manifests import API_VERSION, jobbatch, workerpool
from tests.harness.observing import numbers, sql
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from hammerwork import Job
    from hammerwork_operator.kube.client import ApiServer
    from tests.harness.manifests import Manifest

WAIT_SECONDS = 200.0
STREAM_JOBS = 20_001
"""Three slices."""
NOBODY = "nobody"
"""A queue without workers."""
_MERGE_PATCH = "application/merge-patch+json"


class Stage:
    """A namespace with an operator, as a user who waits for what becomes of his objects sees it."""

    def __init__(self, server: ApiServer, namespace: str, database_url: str, mark: str) -> None:
        """Take the mark that is to be in the payloads of jobs."""
        self._server = server
        self._namespace = namespace
        self.database_url = database_url
        self.mark = mark

    async def create(self, manifest: Manifest, plural: str = "jobbatches") -> None:
        """Create an object."""
        await self._server.request("POST", self._path(plural), manifest)

    async def change(self, name: str, plural: str = "jobbatches", **spec: Any) -> None:
        """Change fields of a spec."""
        await self._server.request("PATCH", f"{self._path(plural)}/{name}", {"spec": spec}, content_type=_MERGE_PATCH)

    async def delete(self, name: str, plural: str = "jobbatches") -> None:
        """Delete an object; return once there are no objects of its kind."""
        await self._server.request("DELETE", f"{self._path(plural)}/{name}")
        await self.objects(plural, lambda found: name not in found)

    async def shows(self, name: str, kind: str, wanted: str) -> Manifest:
        """Return the JobBatch once it has a condition, e.g. ``Ready``, ``True Running``."""
        found = await self.objects("jobbatches", lambda seen: name in seen and condition(seen[name], kind) == wanted)
        return found[name]

    async def objects(self, plural: str, until: Callable[[dict[str, Manifest]], object]) -> dict[str, Manifest]:
        """Return all objects of a kind by name, once something holds of them."""

        async def look() -> dict[str, Manifest]:
            answer = await self._server.request("GET", self._path(plural))
            return {item["metadata"]["name"]: item for item in answer["items"]}

        return await eventually(
            look, until, within=WAIT_SECONDS, every=0.25, tell=lambda seen: f"{self.mark}: {json.dumps(seen)}"
        )

    def _path(self, plural: str) -> str:
        api = {
            "secrets": "/api/v1",
            "configmaps": "/api/v1",
            "deployments": "/apis/apps/v1",
            "poddisruptionbudgets": "/apis/policy/v1",
        }.get(plural, f"/apis/{API_VERSION}")
        return f"{api}/namespaces/{self._namespace}/{plural}"


class Handler:
    """Counts the runs of each payload. Those that end with one of `failing` fail."""

    def __init__(self, *failing: str) -> None:
        self.runs: Counter[str] = Counter()
        self._failing = failing

    async def __call__(self, job: Job) -> None:
        self.runs[job.payload] += 1
        if job.payload.endswith(self._failing):
            raise ValueError("no")


async def of_a_batch(stage: Stage) -> dict[str, int]:
    """It is suspended at first, then resumed."""
    await stage.create(jobbatch("batch", jobs=_jobs(f"{stage.mark}.{number}" for number in range(3)), suspend=True))
    await stage.shows("batch", "Ready", "True Suspended")
    await stage.change("batch", suspend=False)
    await stage.shows("batch", "Succeeded", "True Completed")
    await stage.delete("batch")
    return {f"{stage.mark}.{number}": 1 for number in range(3)}


async def of_a_generated_stream(stage: Stage) -> dict[str, int]:
    """What is half loaded is loaded on."""
    return await _of_a_stream(stage, generate={"count": STREAM_JOBS, "payload": "{{ index }}"})


async def of_a_query(stage: Stage) -> dict[str, int]:
    """What is half loaded is loaded anew."""
    return await _of_a_stream(stage, query={"sql": numbers(STREAM_JOBS)})


async def of_configmaps(stage: Stage) -> dict[str, int]:
    """What is half loaded is loaded on, as long as the contents are the same."""
    lines = "\n".join(str(number) for number in range(STREAM_JOBS))
    await stage.create({"metadata": {"name": "shard"}, "data": {"jobs.ndjson": lines}}, "configmaps")
    return await _of_a_stream(stage, configMapRefs=[{"name": "shard", "key": "jobs.ndjson"}])


async def _of_a_stream(stage: Stage, **source: Any) -> dict[str, int]:
    await stage.create(jobbatch("stream", queue=NOBODY, suspend=True, **source))
    loaded = await stage.shows("stream", "Ready", "True Suspended")
    assert loaded["status"]["totalJobs"] == STREAM_JOBS, stage.mark
    async with sql(stage.database_url) as connection:
        stored = await connection.stored_jobs(UUID(loaded["status"]["batchId"]))
    assert stored == (STREAM_JOBS, STREAM_JOBS), stage.mark
    await stage.delete("stream")
    return {}


async def of_a_retry(stage: Stage) -> dict[str, int]:
    """A job that always fails runs once more, and no other."""
    names = [f"{stage.mark}.works", f"{stage.mark}.fails"]
    await stage.create(jobbatch("batch", jobs=_jobs(names), backoffLimit=0))
    await stage.shows("batch", "Complete", "True CompletedWithErrors")
    await stage.change("batch", retry={"attempt": 1})

    def ended(found: dict[str, Manifest]) -> bool:
        status = found["batch"]["status"]
        return status.get("retryAttempt") == 1 and "completionTime" in status

    await stage.objects("jobbatches", ended)
    await stage.delete("batch")
    return {names[0]: 1, names[1]: 2}


async def of_a_dependency(stage: Stage) -> dict[str, int]:
    """The first is deleted as soon as it has ended; the second runs all the same, and not before."""
    first, second = f"{stage.mark}.first", f"{stage.mark}.second"
    await stage.create(jobbatch("second", jobs=_jobs([second]), dependsOn=[{"name": "first"}]))
    await stage.shows("second", "Enqueued", "False DependencyNotReady")
    await stage.create(jobbatch("first", jobs=_jobs([first]), suspend=True, ttlSecondsAfterFinished=0))
    found = await stage.shows("first", "Ready", "True Suspended")
    await stage.shows("second", "Enqueued", "False DependencyNotReady")
    await stage.change("first", suspend=False)
    await stage.shows("second", "Succeeded", "True Completed")
    await stage.objects("jobbatches", lambda seen: "first" not in seen)
    await stage.delete("second")
    async with await JobQueue.connect(stage.database_url) as queue:
        await queue.delete_batch(UUID(found["status"]["batchId"]))  # a time to live leaves the rows
    return {first: 1, second: 1}


async def of_a_pool(stage: Stage) -> dict[str, int]:
    """It has one Deployment, which is made once and scaled once."""
    await stage.create(
        workerpool("pool", queue=NOBODY, replicas=1, podDisruptionBudget={"maxUnavailable": 1}), "workerpools"
    )
    await stage.objects("workerpools", lambda seen: _status(seen["pool"]).get("replicas") == 1)
    await stage.objects("poddisruptionbudgets", lambda seen: list(seen) == ["pool-worker"])
    await stage.change("pool", "workerpools", replicas=2)
    await stage.objects("workerpools", lambda seen: _status(seen["pool"]).get("replicas") == 2)
    (deployment,) = (await stage.objects("deployments", bool)).values()
    assert deployment["spec"]["replicas"] == deployment["metadata"]["generation"] == 2, stage.mark
    await stage.delete("pool", "workerpools")
    for plural in ("deployments", "poddisruptionbudgets"):
        await stage.objects(plural, lambda seen: not seen)
    return {}


def _status(manifest: Manifest) -> Manifest:
    found: Manifest = manifest.get("status", {})
    return found


def _jobs(payloads: Iterable[str]) -> list[Manifest]:
    return [{"payload": payload} for payload in payloads]


Life: TypeAlias = "Callable[[Stage], Awaitable[dict[str, int]]]"
"""Returns how often each payload has to have run in the end."""
LIVES: tuple[Life, ...] = (
    of_a_batch,
    of_a_generated_stream,
    of_a_query,
    of_configmaps,
    of_a_retry,
    of_a_dependency,
    of_a_pool,
)
