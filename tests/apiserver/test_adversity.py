"""What goes wrong around a batch: databases that restart, operators that stop or come in pairs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hammerwork import Job, JobQueue
from hammerwork.backends.migrating import VERSION
from tests.apiserver.barrier import loading_stops_at
from tests.apiserver.operator_process import OperatorUnderTest
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, secret, workerpool
from tests.harness.observing import different_payloads, sql
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest
    from tests.harness.servers import OwnServer

THREE = [{"payload": n} for n in range(3)]


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def ready(expected: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready") == expected


def complete(found: Manifest) -> bool:
    return condition(found, "Complete") == "True Completed"


@pytest.mark.own_server
@pytest.mark.parametrize("running_server", [postgres_server, mariadb_server])
async def test_a_database_that_restarts_is_waited_for(
    kubectl: Kubectl, operator: OperatorUnderTest, running_server: Callable[[], AbstractContextManager[OwnServer]]
) -> None:
    with running_server() as server:
        kubectl.create(secret(server.url()))
        kubectl.create(jobbatch("steady", jobs=THREE))
        before = await kubectl.wait("jobbatch", "steady", running)
        await asyncio.to_thread(server.stop, "immediate")
        away = await kubectl.wait("jobbatch", "steady", ready("Unknown DatabaseUnavailable"))
        assert away["status"]["totalJobs"] == 3
        assert condition(away, "Enqueued") == "True Enqueued"
        assert operator.probe("/readyz") == 200
        await asyncio.to_thread(server.start)
        after = await kubectl.wait("jobbatch", "steady", running)
        assert after["status"]["batchId"] == before["status"]["batchId"]
        # Away already when the operator starts: nothing is known, and what is not enqueued yet waits.
        operator.stop()
        await asyncio.to_thread(server.stop, "immediate")
        operator.start()
        kubectl.create(jobbatch("new", jobs=THREE))
        for name, expected in (("steady", "Unknown DatabaseUnavailable"), ("new", "False DatabaseUnavailable")):
            found = await kubectl.wait("jobbatch", name, ready(expected))
            assert [condition(found, kind) for kind in ("Reconciling", "Stalled")] == [
                "True DatabaseUnavailable",
                "False DatabaseUnavailable",
            ]
            assert found["status"]["pendingJobs"] == 3
        await asyncio.to_thread(server.start)
        for name in ("steady", "new"):
            await kubectl.wait("jobbatch", name, running)
        async with worker(server.url()):
            await kubectl.wait("jobbatch", "steady", complete)


@pytest.mark.also_on("mariadb")
async def test_a_database_that_needs_a_newer_operator_is_left_alone_and_told_of(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    kubectl.create(jobbatch("followed", jobs=THREE))
    await kubectl.wait("jobbatch", "followed", running)
    async with sql(with_database) as connection:
        await connection.run("UPDATE hammerwork_migrations SET version = 99, least = 98")
    sentence = f"which version 98 or later can work with; this is version {VERSION}: upgrade hammerwork"

    def told(found: Manifest) -> bool:
        return any(
            each["reason"] == "DatabaseRefused" and sentence in each["message"]
            for each in found.get("status", {}).get("conditions", [])
            if each["type"] == "Ready"
        )

    await kubectl.wait("jobbatch", "followed", told)
    kubectl.create(jobbatch("late", jobs=THREE))
    await kubectl.wait("jobbatch", "late", told)
    async with sql(with_database) as connection:
        assert await connection.value("SELECT count(*) FROM hammerwork_batches") == 1
    assert operator.probe("/readyz") == 200
    assert operator.log().count("a database cannot be used: ") == 1


async def test_an_operator_that_is_told_to_stop_while_loading_goes_on_later(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    async with loading_stops_at(with_database, 100_000):
        kubectl.create(jobbatch("large", generate={"count": 300_000, "payload": "{{ index }}"}))
        await kubectl.wait("jobbatch", "large", lambda found: condition(found, "Ready") == "False Loading")
        assert operator.stop() == 0
    operator.start()
    loaded = await kubectl.wait("jobbatch", "large", running, seconds=120)
    assert loaded["status"]["totalJobs"] == 300_000
    assert await different_payloads(with_database) == 300_000


@pytest.mark.also_on("mariadb", "mysql")
async def test_two_operators_at_once_load_every_job_once(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str, tmp_path: Path
) -> None:
    other = OperatorUnderTest(tmp_path / "operator.kubeconfig", kubectl.namespace, tmp_path / "other.log")
    other.start()
    runs: list[int] = []

    async def handler(job: Job) -> None:
        runs.append(job.payload)

    try:
        kubectl.create(jobbatch("inline", jobs=[{"payload": n} for n in range(500)]))
        kubectl.create(jobbatch("stream", generate={"count": 30_000, "payload": "{{ index }}"}, suspend=True))
        async with worker(with_database, handler):
            done = await kubectl.wait("jobbatch", "inline", complete)
        assert (done["status"]["totalJobs"], sorted(runs)) == (500, list(range(500)))
        loaded = await kubectl.wait(
            "jobbatch", "stream", lambda found: condition(found, "Ready") == "True Suspended", seconds=90
        )
        assert loaded["status"]["totalJobs"] == 30_000
    finally:
        other.stop()
    assert operator.running()


async def test_probes_are_answered_while_a_large_batch_is_loaded(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    kubectl.create(jobbatch("large", generate={"count": 100_000_000, "payload": {"n": "{{ index }}"}}))
    await kubectl.wait("jobbatch", "large", lambda found: condition(found, "Ready") == "False Loading")
    async with await JobQueue.connect(with_database) as queue:
        batch_id = UUID(kubectl.get("jobbatch", "large")["status"]["batchId"])
        for _ in range(20):
            assert operator.probe("/healthz") == 200
        assert (await queue.get_batch_status(batch_id)).state.value == "Loading"
    kubectl.create(jobbatch("small", jobs=THREE))
    await kubectl.wait("jobbatch", "small", running)
    kubectl("delete", "jobbatch", "large", "--timeout=60s")


async def test_a_secret_that_may_not_be_read_is_reported(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    role = kubectl.get("role", "hammerwork-operator")
    rules = [rule for rule in role["rules"] if rule["resources"] != ["secrets"]]
    kubectl.patch("role", "hammerwork-operator", {"rules": rules})
    kubectl.create(jobbatch("blind", jobs=THREE))
    found = await kubectl.wait("jobbatch", "blind", lambda found: condition(found, "Ready").startswith("False Secret"))
    assert condition(found, "Stalled") == "True SecretForbidden"
    kubectl.patch("role", "hammerwork-operator", {"rules": role["rules"]})
    await kubectl.wait("jobbatch", "blind", running)
    assert operator.running()
    assert with_database


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://app:Geheim/42@127.0.0.1/db", "InvalidDatabaseURL"),
        ("postgresql://app:Geheim#42@127.0.0.1/db", "InvalidDatabaseURL"),
        ("postgresql://app:Geheim42@127.0.0.1:1/db", "DatabaseUnavailable"),
        ("mysql://app:Geheim?42@127.0.0.1/db", "InvalidDatabaseURL"),
    ],
)
async def test_no_part_of_a_password_is_in_what_others_may_read(
    kubectl: Kubectl, operator: OperatorUnderTest, url: str, reason: str
) -> None:
    kubectl.create(secret(url))
    kubectl.create(jobbatch("told", jobs=THREE))
    kubectl.create(workerpool("told"))
    await kubectl.wait("jobbatch", "told", lambda found: condition(found, "Ready") == f"False {reason}")
    await kubectl.wait("workerpool", "told", lambda found: found.get("status", {}).get("conditions"))
    told = kubectl("get", "jobbatches,workerpools,deployments,events", "--output", "yaml") + operator.log()
    assert reason in told
    assert "Geheim" not in told
    assert "42@" not in told
