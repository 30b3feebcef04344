"""JobBatches that wait for others: real API server, real operator process, real PostgreSQL, real worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch
from tests.harness.observing import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork import Job
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

ONE = [{"payload": 1}]


def says(reason: str, words: str = "") -> Callable[[Manifest], bool]:
    def holds(found: Manifest) -> bool:
        entries = found.get("status", {}).get("conditions") or [{"message": ""}]
        return condition(found, "Ready").endswith(f" {reason}") and words in entries[0]["message"]

    return holds


async def stored(url: str) -> list[str]:
    async with sql(url) as connection:
        found = await connection.rows("SELECT name FROM hammerwork_batches ORDER BY name")
    return [name.partition("/")[2] for (name,) in found]


async def fails(job: Job) -> None:
    if job.payload == "bad":
        raise ValueError("bad")


async def test_batches_run_in_order(kubectl: Kubectl, operator: OperatorUnderTest, with_database: str) -> None:
    first = {"name": "extract"}
    kubectl.create(jobbatch("load", jobs=ONE, dependsOn=[first, {"name": "check", "condition": "Succeeded"}]))
    missing = await kubectl.wait("jobbatch", "load", says("DependencyNotReady", "extract to be Complete (it does not"))
    assert [condition(missing, kind) for kind in ("Reconciling", "Stalled", "Enqueued")] == [
        "True DependencyNotReady",
        "False DependencyNotReady",
        "False DependencyNotReady",
    ]
    assert "finalizers" not in missing["metadata"]
    kubectl.create(jobbatch("extract", jobs=ONE, ttlSecondsAfterFinished=0))
    await kubectl.wait("jobbatch", "extract", says("Running"))
    await kubectl.wait("jobbatch", "load", says("DependencyNotReady", "extract to be Complete, "))
    assert await stored(with_database) == ["extract"]
    async with worker(with_database):
        await kubectl.wait_gone("jobbatch", "extract")  # only once the other has taken note
        noted = kubectl.get("jobbatch", "load")
        assert noted["status"]["satisfiedDependencies"] == ["extract"]
        operator.kill()
        operator.start()
        kubectl.create(jobbatch("check", jobs=ONE))
        done = await kubectl.wait("jobbatch", "load", says("Completed"))
    assert done["status"]["satisfiedDependencies"] == ["extract", "check"]
    assert done["status"]["startTime"] >= kubectl.get("jobbatch", "check")["status"]["completionTime"]
    assert await stored(with_database) == ["check", "extract", "load"]


async def test_what_cannot_begin_says_so(kubectl: Kubectl, operator: OperatorUnderTest, with_database: str) -> None:
    kubectl.create(jobbatch("self", jobs=ONE, dependsOn=[{"name": "self"}]))
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        kubectl.create(jobbatch(name, jobs=ONE, dependsOn=[{"name": other}]))
    kubectl.create(jobbatch("after", jobs=ONE, dependsOn=[{"name": "report"}]))
    kubectl.create(jobbatch("report", jobs=ONE, dependsOn=[{"name": "extract", "condition": "Succeeded"}]))
    kubectl.create(jobbatch("tolerant", jobs=ONE, dependsOn=[{"name": "extract"}]))
    kubectl.create(jobbatch("extract", jobs=[{"payload": "bad"}], backoffLimit=0))
    await kubectl.wait("jobbatch", "self", says("DependencyCycle", "self → self"))
    for name, path in (("a", "a → b → c → a"), ("b", "b → c → a → b")):
        stalled = await kubectl.wait("jobbatch", name, says("DependencyCycle", path))
        assert condition(stalled, "Stalled") == "True DependencyCycle"
    await kubectl.wait_events("self", "Warning DependencyCycle")
    async with worker(with_database, fails):
        await kubectl.wait("jobbatch", "tolerant", says("Completed"))
    words = "JobBatch extract is complete with failed jobs, and has to be Succeeded"
    failed = await kubectl.wait("jobbatch", "report", says("DependencyFailed", words))
    assert [condition(failed, kind) for kind in ("Failed", "Succeeded", "Complete")] == [
        "True DependencyFailed",
        "False DependencyFailed",
        "-",
    ]
    await kubectl.wait("jobbatch", "after", says("DependencyFailed", "JobBatch report has failed"))
    kubectl("delete", "jobbatch", "c", "report", "--timeout=20s")
    await kubectl.wait("jobbatch", "a", says("DependencyNotReady", "waits for JobBatch b to be Complete"))
    await kubectl.wait("jobbatch", "b", says("DependencyNotReady", "waits for JobBatch c to be Complete (it does not"))
    assert await stored(with_database) == ["extract", "tolerant"]
    assert operator.running()
