"""The operator beside thousands of JobBatches: what it asks the database, what it writes, its memory, its latency.

A control plane without a node is enough: the worker that finishes batches is one of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import psutil

from benchmarks.figures import FIGURES
from benchmarks.kubernetes_client import Client
from benchmarks.measuring import percentile, say
from benchmarks.memory import MIB
from benchmarks.results import describe_machine, summarise
from benchmarks.servers import POSTGRES_SETTINGS
from hammerwork import JobQueue, Worker
from hammerwork_operator.jobbatch.observed import observe
from tests.cluster import settings
from tests.cluster.binaries import binaries_folder
from tests.harness.clusters import control_plane
from tests.harness.handlers import nothing
from tests.harness.manifests import jobbatch, secret
from tests.harness.observing import sql
from tests.harness.servers.postgres import postgres_server
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from benchmarks.results import Result
    from tests.harness.manifests import Manifest

BATCHES = "/apis/hammerwork.io/v1alpha1/namespaces/{}/jobbatches"
CRDS = Path(__file__).parents[1] / "crds"
WRITES = re.compile(
    r'^apiserver_request_total\{[^}]*resource="(?:jobbatches|workerpools|events)"[^}]*'
    r'verb="(?:APPLY|PATCH|POST|PUT)"[^}]*\} (\S+)$',
    re.MULTILINE,
)
SYSTEM = "operator, PostgreSQL"
STATUSES = "hammerwork_chunks"
"""In the text of the query for the counts of batches, and of no other that runs while nothing changes."""
PARALLEL = 16
LOAD_SECONDS = 900.0
THREE = [{"payload": n} for n in range(3)]


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is to do, and for how long nothing is."""

    finished: int = 4_900
    running: int = 100
    small: int = 100
    """New batches whose way to the database is timed."""
    idle_seconds: float = 20.0


class Idle(msgspec.Struct, frozen=True):
    """What happened while nothing changed."""

    seconds: float
    statements: dict[str, int]
    """Calls of each statement that reached the database, by its text."""
    writes: int
    """Requests that change a batch, a pool or an event, as the API server counts them."""

    def calls_of(self, part: str) -> int:
        """Return the calls of the statements that have `part` in their text."""
        return sum(calls for text, calls in self.statements.items() if part in text)


class Operator:
    """`python -m hammerwork_operator`, for one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path) -> None:
        self._log = log
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HAMMERWORK_")},
            "KUBECONFIG": str(kubeconfig),
            "HAMMERWORK_WATCH_NAMESPACES": namespace,
            "HAMMERWORK_OPERATOR_PORT": "0",
        }
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Start the process."""
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "hammerwork_operator"]
            self._process = psutil.Popen(command, env=self._environment, stdout=log, stderr=log)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except psutil.TimeoutExpired:
                self._process.kill()
            self._process = None

    def memory(self) -> int:
        """Return its bytes of resident memory."""
        assert self._process is not None
        return int(self._process.memory_info().rss)

    def log(self) -> str:
        """Return what it has logged since its start."""
        return self._log.read_text(encoding="utf-8")


class _Status(msgspec.Struct):
    conditions: list[dict[str, Any]] = []


class _Object(msgspec.Struct):
    metadata: dict[str, Any]
    status: _Status = msgspec.field(default_factory=_Status)


class _Event(msgspec.Struct):
    object: _Object


class Watched:
    """Which batches have come how far, as a client sees it that watches them."""

    def __init__(self) -> None:
        self.enqueued: dict[str, float] = {}
        """When each batch was first seen as Enqueued, by its name."""
        self.complete: set[str] = set()
        self.unserved: set[str] = set()
        """The batches of which it was said that nobody works on their queue."""
        self.changed = asyncio.Event()

    async def watch(self, server: Client, namespace: str) -> None:
        """Take note of all batches of a namespace, until cancelled."""
        decoder = msgspec.json.Decoder(_Event)
        while True:
            try:
                async for line in server.watch(BATCHES.format(namespace)):
                    self._see(decoder.decode(line).object)
            except aiohttp.ClientResponseError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:  # of an API server that has just been told of the kind
                    raise
                await asyncio.sleep(1.0)

    def _see(self, found: _Object) -> None:
        name = found.metadata["name"]
        holding = {each["type"] for each in found.status.conditions if each["status"] == "True"}
        if "Enqueued" in holding:
            self.enqueued.setdefault(name, time.perf_counter())
        if "Complete" in holding:
            self.complete.add(name)
        if any(each["type"] == "Served" for each in found.status.conditions):
            self.unserved.add(name)
        self.changed.set()

    async def until(self, names: Iterable[str], among: Iterable[str], *, seconds: float = LOAD_SECONDS) -> None:
        """Return once all the names are among what is seen."""
        wanted = set(names)
        async with asyncio.timeout(seconds):
            while wanted - set(among):
                self.changed.clear()
                await self.changed.wait()


class Place:
    """A namespace on the API server and a database, with the operator between them."""

    def __init__(self, server: Client, namespace: str, database_url: str, operator: Operator) -> None:
        self.server = server
        self.namespace = namespace
        self.database_url = database_url
        self.operator = operator
        self.watched = Watched()

    async def create(self, manifest: Manifest) -> None:
        """Create a JobBatch."""
        await self.server.request("POST", BATCHES.format(self.namespace), manifest)

    async def create_all(self, prefix: str, count: int, queue: str) -> list[str]:
        """Create batches of three jobs each, several at a time; return their names."""
        names = [f"{prefix}-{number}" for number in range(count)]
        await _several(self.create(jobbatch(name, queue=queue, jobs=THREE)) for name in names)
        return names

    async def finish(self, count: int) -> None:
        """Run a batch to its end, and create others of which their status says the same."""
        async with await JobQueue.connect(self.database_url) as queue:
            await queue.create_tables()
            worker = Worker(queue, "work", nothing)
            task = asyncio.create_task(worker.run())
            await self.create_all("finished", 1, "work")
            await self.watched.until(["finished-0"], self.watched.complete)
            worker.stop()
            await task
        await asyncio.to_thread(self.operator.stop)
        path = BATCHES.format(self.namespace)
        one = await self.server.request("GET", f"{path}/finished-0")

        async def copy(name: str) -> None:
            manifest = jobbatch(name, queue="work", jobs=THREE)
            manifest["metadata"]["finalizers"] = one["metadata"]["finalizers"]
            made = await self.server.request("POST", path, manifest)
            status = {**one["status"], "batchId": str(observe(made).batch_id)}
            merge = "application/merge-patch+json"
            await self.server.request("PATCH", f"{path}/{name}/status", {"status": status}, content_type=merge)

        await _several(copy(f"finished-{number}") for number in range(1, count))

    async def writes(self) -> int:
        """Return how many requests to change a batch, a pool or an event the API server has answered so far."""
        text = await self.server.text("/metrics")
        return int(sum(float(count) for count in WRITES.findall(text)))

    async def settle(self) -> None:
        """Return once nothing was written for a second."""
        seen = -1

        async def wrote() -> bool:
            nonlocal seen
            before, seen = seen, await self.writes()
            return before == seen

        await eventually(wrote, bool, within=300, every=1.0)

    async def idle(self, seconds: float) -> Idle:
        """Return what happens in some time in which nobody does anything."""
        name = self.database_url.rpartition("/")[2]
        async with sql(self.database_url.removesuffix(name) + "postgres") as connection:
            await connection.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            before = await self.writes()
            await connection.run("SELECT pg_stat_statements_reset()")
            started = time.perf_counter()
            await asyncio.sleep(seconds)
            rows = await connection.rows(
                "SELECT s.query, s.calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
                "WHERE d.datname = $1",
                name,
            )
            return Idle(time.perf_counter() - started, dict(rows), await self.writes() - before)

    async def latencies(self, count: int) -> list[float]:
        """Return the seconds from the request that creates a small batch to its status that says Enqueued."""
        found = []
        for number in range(count):
            name = f"small-{number}"
            started = time.perf_counter()
            await self.create(jobbatch(name, queue="held", jobs=THREE))
            await self.watched.until([name], self.watched.enqueued, seconds=60)
            found.append(self.watched.enqueued[name] - started)
        return found

    async def start_seconds(self) -> float:
        """Start the operator; return how long it takes until a batch that waits for it is Enqueued."""
        await self.create(jobbatch("waiting", queue="held", jobs=THREE))
        started = time.perf_counter()
        self.operator.start()
        await self.watched.until(["waiting"], self.watched.enqueued, seconds=300)
        return self.watched.enqueued["waiting"] - started


@contextlib.asynccontextmanager
async def place(kubeconfig: Path, database_url: str, folder: Path) -> AsyncIterator[Place]:
    """Have a namespace with the definitions, the Secret and a running operator for the length of a block."""
    server = Client(kubeconfig)
    namespace = f"scale-{uuid.uuid4().hex[:10]}"
    operator = Operator(kubeconfig, namespace, folder / "operator.log")
    found = Place(server, namespace, database_url, operator)
    try:
        await server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        await server.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret(database_url))
        async with asyncio.TaskGroup() as group:  # a watch that fails ends the block
            watching = group.create_task(found.watched.watch(server, namespace))
            operator.start()
            yield found
            watching.cancel()
    finally:
        await asyncio.to_thread(operator.stop)
        with contextlib.suppress(aiohttp.ClientError):
            await server.request("DELETE", f"/api/v1/namespaces/{namespace}")
        await server.close()


async def measure_operator(where: Place, scale: Scale) -> dict[str, float]:
    """Return the figures of the operator by name; what it does is told on the way."""
    started = time.perf_counter()
    await where.finish(scale.finished)
    say(f"{scale.finished:,} finished batches are there ({time.perf_counter() - started:.0f} s)")
    start = await where.start_seconds()
    held = await where.create_all("running", scale.running - 1, "held")
    await where.watched.until(held, where.watched.enqueued)
    await where.watched.until(held, where.watched.unserved)
    await where.settle()
    idle = await where.idle(scale.idle_seconds)
    for text, calls in sorted(idle.statements.items(), key=lambda entry: -entry[1]):
        say(f"{calls / idle.seconds:.2f}/s: {' '.join(text.split())[:100]}")
    latencies = await where.latencies(scale.small)
    return {
        "operator-statements": sum(idle.statements.values()) / idle.seconds,
        "operator-status-queries": idle.calls_of(STATUSES) / idle.seconds,
        "operator-writes": idle.writes,
        "operator-memory": where.operator.memory() / MIB,
        "operator-start": start,
        "operator-enqueued-p50": percentile(latencies, 50) * 1000,
        "operator-enqueued-p95": percentile(latencies, 95) * 1000,
    }


async def _several(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Make calls, several at a time."""
    turns = asyncio.Semaphore(PARALLEL)

    async def one(call: Coroutine[Any, Any, None]) -> None:
        async with turns:
            await call

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))


def apply_definitions(kubectl: Path, kubeconfig: Path) -> None:
    """Put the definitions of the kinds onto the API server."""
    command = [
        str(kubectl),
        f"--kubeconfig={kubeconfig}",
        "apply",
        "--server-side",
        "--force-conflicts",
        f"--filename={CRDS}",
    ]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


async def benchmark(scale: Scale) -> list[Result]:
    """Start a control plane and a PostgreSQL, and return what is measured there."""
    with (
        control_plane(),
        postgres_server({**POSTGRES_SETTINGS, "shared_preload_libraries": "pg_stat_statements"}) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        kubeconfig = settings.control_plane().kubeconfig
        apply_definitions(binaries_folder() / "kubectl", kubeconfig)
        async with sql(server.url()) as connection:
            await connection.run("CREATE DATABASE benchmark")
            version = str(await connection.value("SHOW server_version")).partition(" ")[0]
        async with place(kubeconfig, server.url("benchmark"), Path(folder)) as where:
            figures = await measure_operator(where, scale)
    machine = describe_machine(f"PostgreSQL {version}")
    return [
        summarise(name, SYSTEM, [value], unit=FIGURES[name].unit, machine=machine) for name, value in figures.items()
    ]
