from __future__ import annotations

import asyncio
from typing import Any

from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.workerpool.controller import WorkerPoolController
from tests.unit.operator.builders import manifest

Manifest = dict[str, Any]


class OnePoolServer(ApiServer):
    """Has one WorkerPool and, under the name of its Deployment, one of somebody else; counts how often that is read."""

    def __init__(self, pool: Manifest) -> None:
        self.pool = pool
        self.looks = 0
        self.reads = 0
        self.written = asyncio.Event()

    async def request(self, method: str, path: str, body: Any = None, **_: Any) -> Manifest:
        if path.endswith("/status"):
            version = int(self.pool["metadata"]["resourceVersion"]) + 1
            metadata = {**self.pool["metadata"], "resourceVersion": str(version)}
            self.pool = {**self.pool, "metadata": metadata, "status": body["status"]}
            self.written.set()
            return self.pool
        if method == "GET" and "/workerpools/" in path:
            self.reads += 1
            return self.pool
        if "/deployments/" in path:
            self.looks += 1
            return {"metadata": {"ownerReferences": [{"uid": "other"}]}}
        if path.endswith("/events"):
            return {}
        raise ApiError(404, f"{method} {path}")


async def until_quiet() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_write_of_the_status_does_not_have_the_pool_looked_at_again() -> None:
    """With many pools whose queues change all the time, that would double the requests."""
    server = OnePoolServer(manifest({"handler": {"python": {"function": "handlers:send"}}, "jobs": []}))
    metrics = Metrics()
    pools = WorkerPoolController(server, Databases(server, metrics), metrics, default_image="worker:1")
    try:
        pools.seen(server.pool)
        await asyncio.wait_for(server.written.wait(), 10)
        await until_quiet()
        assert server.looks == 1
        pools.seen(server.pool)
        await until_quiet()
        assert server.looks == 1
        later = {**server.pool["metadata"], "resourceVersion": "100", "generation": 2}
        pools.seen({**server.pool, "metadata": later})
        await until_quiet()
        assert server.looks == 2
    finally:
        await pools.stop()


async def test_a_pool_that_comes_in_an_older_version_is_read_and_taken_as_it_is() -> None:
    """So it is after etcd was restored from a copy; or the news of the last write are on their way."""
    server = OnePoolServer(manifest({"handler": {"python": {"function": "handlers:send"}}, "jobs": []}))
    metrics = Metrics()
    pools = WorkerPoolController(server, Databases(server, metrics), metrics, default_image="worker:1")
    try:
        pools.seen(server.pool)
        await asyncio.wait_for(server.written.wait(), 10)
        await until_quiet()
        assert (server.looks, server.reads) == (1, 0)
        metadata = {**server.pool["metadata"], "resourceVersion": "3", "generation": 2}
        server.pool = {**server.pool, "metadata": metadata}
        pools.seen(server.pool)
        await until_quiet()
        assert (server.looks, server.reads) == (2, 1)
        # What comes now is newer than that.
        pools.seen({**server.pool, "metadata": {**metadata, "resourceVersion": "5", "generation": 3}})
        await until_quiet()
        assert (server.looks, server.reads) == (3, 1)
    finally:
        await pools.stop()


async def test_the_end_of_a_pool_that_was_replaced_is_not_that_of_the_other() -> None:
    spec = {"handler": {"python": {"function": "handlers:send"}}, "jobs": []}
    server = OnePoolServer(manifest(spec))
    metrics = Metrics()
    pools = WorkerPoolController(server, Databases(server, metrics), metrics, default_image="worker:1")
    try:
        pools.seen(server.pool)
        server.pool = manifest(spec, uid="uid-2")
        pools.seen(server.pool)
        pools.seen(manifest(spec), deleted=True)
        await asyncio.wait_for(server.written.wait(), 10)
    finally:
        await pools.stop()
