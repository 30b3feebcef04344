"""What the API server, and the network to it, do to requests: batches and pools come to the same end all the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.apiserver.operator_process import OperatorUnderTest, service_account_kubeconfig
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition, conditions
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.observing import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hammerwork import Job
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

FAULTS = (
    Fault(),
    Fault(lost_answer=True),
    Fault(seconds=0.3),
    *(Fault(status=status) for status in (409, 410, 500, 503, 504)),
    Fault(status=429, retry_after=1),
)
MOST_IN_A_ROW = 3
"""Of faults of one kind of request: pauses double, so chance alone could make it wait for longer than the test."""
AWAY_SECONDS = 6.0


@pytest.fixture
async def proxy(kubectl: Kubectl, tmp_path: Path) -> AsyncIterator[FaultyProxy]:
    """The proxy that `operator` reaches the API server by."""
    async with faulty_proxy(service_account_kubeconfig(kubectl, tmp_path), tmp_path / "through-proxy") as running:
        yield running


@pytest.fixture
async def operator(proxy: FaultyProxy, kubectl: Kubectl, tmp_path: Path) -> AsyncIterator[OperatorUnderTest]:
    """An operator behind the proxy; the test starts it."""
    assert proxy.port
    operator = OperatorUnderTest(tmp_path / "through-proxy", kubectl.namespace, tmp_path / "operator.log")
    yield operator
    if operator.running():
        await asyncio.to_thread(operator.stop)
    log = operator.log()
    print(log)  # shown beside a test that fails
    assert "Traceback" not in log, log


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def complete(found: Manifest) -> bool:
    return condition(found, "Complete") == "True Completed"


def ready_message(found: Manifest) -> str:
    return str(conditions(found).get("Ready", {}).get("message"))


async def rows(url: str) -> int:
    """Return the number of batches in the database."""
    async with sql(url) as connection:
        return int(await connection.value("SELECT count(*) FROM hammerwork_batches"))


async def test_each_third_request_fails_and_all_ends_as_it_should(
    kubectl: Kubectl, proxy: FaultyProxy, operator: OperatorUnderTest, with_database: str
) -> None:
    chance = random.Random(1)
    injected: Counter[Fault] = Counter()
    in_a_row: Counter[str] = Counter()
    told = [Fault(event=410), Fault(event=500)]
    await asyncio.to_thread(operator.start)

    def fault(method: str, path: str) -> Fault | None:
        what = f"{method} {path.partition('?')[0]}"
        if told and "watch=true" in path:
            chosen = told.pop()
        elif in_a_row[what] == MOST_IN_A_ROW or chance.random() > 1 / 3:
            in_a_row[what] = 0
            return None
        else:
            chosen = chance.choice(FAULTS)
        injected[chosen] += 1
        in_a_row[what] += 1
        return chosen

    proxy.fault = fault
    started = time.monotonic()
    runs: Counter[str] = Counter()

    async def handler(job: Job) -> None:
        runs[str(job.payload)] += 1

    def create() -> None:
        kubectl.apply(
            *(jobbatch(f"small-{n}", jobs=[{"payload": f"{n}.{m}"} for m in range(5)]) for n in range(5)),
            jobbatch("stream", generate={"count": 20_000, "payload": "{{ index }}"}, suspend=True),
            jobbatch("unwanted", queue="nobody", jobs=[{"payload": None}]),
            workerpool("pool", replicas=2),
        )

    await asyncio.to_thread(create)
    proxy.cut_watches(within_a_line=True)
    async with worker(with_database, handler):
        await kubectl.wait("jobbatch", "stream", lambda found: condition(found, "Ready") == "True Suspended")
        await asyncio.to_thread(kubectl.patch, "jobbatch", "stream", {"spec": {"suspend": False}})
        await asyncio.to_thread(kubectl, "delete", "jobbatch", "unwanted", "--timeout=60s")
        proxy.cut_watches()
        for name in (*(f"small-{n}" for n in range(5)), "stream"):
            done = await kubectl.wait("jobbatch", name, complete)
            assert done["status"]["completedJobs"] == done["status"]["totalJobs"] > 0
    assert len(runs) == 5 * 5 + 20_000
    assert set(runs.values()) == {1}
    assert await rows(with_database) == 6
    await kubectl.wait("deployment", "pool-worker", lambda found: found["spec"]["replicas"] == 2)
    assert injected.total() > 10
    assert "Bearer " not in operator.log()
    assert len(proxy.since(started)) / (time.monotonic() - started) < 50, Counter(proxy.since(started))


async def test_an_api_server_that_is_gone_is_waited_for(
    kubectl: Kubectl, proxy: FaultyProxy, operator: OperatorUnderTest, with_database: str
) -> None:
    await asyncio.to_thread(operator.start)
    await asyncio.to_thread(kubectl.apply, jobbatch("before", jobs=[{"payload": n} for n in range(3)]))
    await kubectl.wait("jobbatch", "before", running)
    proxy.away, gone = True, time.monotonic()
    proxy.cut_watches()
    await asyncio.to_thread(kubectl.apply, jobbatch("meanwhile", jobs=[{"payload": n} for n in range(3)]))
    async with worker(with_database):
        await asyncio.sleep(AWAY_SECONDS)
        assert operator.probe("/healthz") == 200
        assert len(proxy.since(gone)) < 20 + 10 * AWAY_SECONDS, Counter(proxy.since(gone))
        proxy.away = False
        for name in ("before", "meanwhile"):
            await kubectl.wait("jobbatch", name, complete)


async def test_what_is_deleted_while_no_watch_tells_of_it_is_known_to_be_gone(
    kubectl: Kubectl, proxy: FaultyProxy, operator: OperatorUnderTest, with_database: str
) -> None:
    """After a break, the API server lists what is there, and says nothing of what is not."""
    assert with_database
    await asyncio.to_thread(operator.start)
    await asyncio.to_thread(
        kubectl.apply,
        workerpool("pool"),
        jobbatch("first", jobs=[{"payload": 1}]),
        jobbatch("second", jobs=[{"payload": 2}], dependsOn=[{"name": "first"}]),
    )
    await kubectl.wait("deployment", "pool-worker", lambda found: found["spec"]["replicas"] == 1)
    await kubectl.wait("jobbatch", "first", running)
    await kubectl.wait("jobbatch", "second", lambda found: "JobBatch first to be" in ready_message(found))

    watches_break, begun_anew = True, set[str]()

    def fault(_method: str, path: str) -> Fault | None:
        what, _, query = path.partition("?")
        if "watch=true" not in query or what in begun_anew:
            return None
        if watches_break:
            return Fault()
        begun_anew.add(what)
        return Fault(event=410)

    proxy.fault = fault
    proxy.cut_watches()
    await asyncio.to_thread(kubectl, "delete", "workerpool", "pool")
    watches_break = False
    await kubectl.wait("jobbatch", "first", lambda found: condition(found, "Served") == "False NoWorkerPool")

    proxy.away = True
    proxy.cut_watches()
    await asyncio.to_thread(kubectl, "delete", "jobbatch", "first", "--wait=false")
    await asyncio.to_thread(kubectl.patch, "jobbatch", "first", {"metadata": {"finalizers": None}})
    proxy.away = False
    await kubectl.wait("jobbatch", "second", lambda found: "(it does not exist)" in ready_message(found))
    assert "hammerwork_operator_live_batches 0.0" in (await asyncio.to_thread(operator.fetch, "/metrics"))[1]
