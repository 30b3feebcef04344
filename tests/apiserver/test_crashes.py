"""An operator may end anywhere: the next one brings each object to the same end, and runs no job twice."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.crashing import api_server, crashing_operator
from tests.apiserver.lives import LIVES, Handler, Life, Stage
from tests.apiserver.workers import worker
from tests.harness.manifests import secret
from tests.harness.observing import sql

if TYPE_CHECKING:
    from pathlib import Path

    from hammerwork_operator.kube.client import ApiServer
    from tests.apiserver.kubectl import Kubectl

AT_ONCE = 12
EVERY = 20
"""A life has about a hundred requests; an operator crashes before one in so many of them."""


async def lived(
    life: Life, server: ApiServer, kubeconfig: Path, url: str, last: int | None
) -> tuple[int, dict[str, int]]:
    """Have a life whose operator crashes before request `last`.

    Returns the number of requests that this operator made, and how often each payload has to have run.
    """
    name = f"{life.__name__.replace('_', '-')}-{last or 0}-{uuid.uuid4().hex[:10]}"
    await server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        async with crashing_operator(kubeconfig, name, url, last) as (steps, through):
            stage = Stage(server, name, url, f"{life.__name__}, crash before request {last}")
            await stage.create(secret(through), "secrets")
            wanted = await life(stage)
            return steps.count, wanted
    finally:
        await server.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.timeout(900)  # on a machine that is busy otherwise
async def test_an_operator_that_crashes_between_its_requests_has_done_no_harm(
    admin: Kubectl, database_url: str
) -> None:
    handler = Handler(".fails")
    server = await api_server(admin.kubeconfig)
    limit = asyncio.Semaphore(AT_ONCE)
    wanted: dict[str, int] = {}

    async def crash_before(last: int | None, life: Life) -> int:
        async with limit:
            requests, runs = await lived(life, server, admin.kubeconfig, database_url, last)
        wanted.update(runs)
        return requests

    async def crash_often(first: int, life: Life) -> None:
        requests = await crash_before(None, life)
        assert requests > 20
        await asyncio.gather(*(crash_before(last, life) for last in range(first, requests + 1, EVERY)))

    try:
        async with worker(database_url, handler), asyncio.TaskGroup() as group:
            for number, life in enumerate(LIVES):
                group.create_task(crash_often(1 + 2 * number % EVERY, life))
    finally:
        await server.close()
    assert handler.runs == wanted
    async with sql(database_url) as connection:
        assert await connection.rows("SELECT name, state, total FROM hammerwork_batches") == []
        assert await connection.stored_rows() == {}
