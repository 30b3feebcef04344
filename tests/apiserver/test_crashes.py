"""An operator may end anywhere: the next one brings each batch to the same end, and runs no job twice."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import asyncpg

from tests.apiserver.lives import api_server, crashing_operator
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import API_VERSION, jobbatch, secret
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hammerwork import Job
    from hammerwork_operator.kube.client import ApiServer
    from tests.apiserver.kubectl import Kubectl
    from tests.harness.manifests import Manifest

AT_ONCE = 12
EVERY = 8
"""Of the requests of a life, of which there are a hundred, each so manieth is tried; all of them take two minutes."""
WAIT_SECONDS = 90.0


async def life(server: ApiServer, kubeconfig: Path, url: str, last: int | None) -> int:
    """Take a batch from its creation to its deletion, while its operator crashes before request `last`.

    Returns the number of requests that the operator made. The batch is suspended at first, then resumed.
    """
    namespace = f"life-{uuid.uuid4().hex[:10]}"
    batches = f"/apis/{API_VERSION}/namespaces/{namespace}/jobbatches"

    async def until(reached: Callable[[Manifest | None], object]) -> None:
        await eventually(
            lambda: server.get("jobbatches", namespace, "batch"),
            reached,
            within=WAIT_SECONDS,
            every=0.1,
            tell=lambda seen: f"with a crash before request {last}: {json.dumps(seen)}",
        )

    def shows(kind: str, wanted: str) -> Callable[[Manifest | None], object]:
        return lambda found: found is not None and condition(found, kind) == wanted

    await server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        async with crashing_operator(kubeconfig, namespace, url, last) as (steps, through):
            await server.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret(through))
            jobs = [{"payload": f"{last}.{number}"} for number in range(3)]
            await server.request("POST", batches, jobbatch("batch", jobs=jobs, suspend=True))
            await until(shows("Ready", "True Suspended"))
            resume = {"spec": {"suspend": False}}
            await server.request("PATCH", f"{batches}/batch", resume, content_type="application/merge-patch+json")
            await until(shows("Succeeded", "True Completed"))
            await server.request("DELETE", f"{batches}/batch")
            await until(lambda found: found is None)
            return steps.count
    finally:
        await server.request("DELETE", f"/api/v1/namespaces/{namespace}")


async def test_an_operator_that_crashes_between_its_requests_has_done_no_harm(
    admin: Kubectl, database_url: str
) -> None:
    runs: Counter[str] = Counter()
    server = await api_server(admin.kubeconfig)
    limit = asyncio.Semaphore(AT_ONCE)

    async def handler(job: Job) -> None:
        runs[job.payload] += 1

    async def crash_before(last: int) -> None:
        async with limit:
            await life(server, admin.kubeconfig, database_url, last)

    try:
        async with worker(database_url, handler):
            requests = await life(server, admin.kubeconfig, database_url, None)
            assert requests > 20
            await asyncio.gather(*(crash_before(last) for last in range(1, requests + 1, EVERY)))
    finally:
        await server.close()
    assert runs == Counter(
        {f"{last}.{number}": 1 for last in (None, *range(1, requests + 1, EVERY)) for number in range(3)}
    )
    connection = await asyncpg.connect(database_url)
    left = [await connection.fetchval(f"SELECT count(*) FROM hammerwork_{table}") for table in ("batches", "jobs")]
    await connection.close()
    assert left == [0, 0]
