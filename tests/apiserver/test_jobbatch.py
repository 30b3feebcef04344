"""A JobBatch from creation to its end: real API server, real operator process, real PostgreSQL, real worker."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hammerwork import Job, JobQueue
from tests.apiserver.barrier import loading_stops_at
from tests.apiserver.workers import worker
from tests.harness.hostile import HOSTILE, steering
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, secret
from tests.harness.observing import different_payloads, sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

THREE = [{"payload": {"to": "a"}}, {"payload": {"to": "b"}, "priority": "Critical"}, {"payload": None}]


def complete(found: Manifest) -> bool:
    return condition(found, "Complete").startswith("True")


def reason(wanted: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready").endswith(f" {wanted}")


def counts(found: Manifest) -> dict[str, int]:
    return {key.removesuffix("Jobs"): value for key, value in found["status"].items() if key.endswith("Jobs")}


async def rows(url: str) -> dict[str, int]:
    async with sql(url) as connection:
        tables = ("batches", "jobs", "chunks", "failures")
        return {table: await connection.value(f"SELECT count(*) FROM hammerwork_{table}") for table in tables}


NONE_LEFT = {"batches": 0, "jobs": 0, "chunks": 0, "failures": 0}


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb", "mysql")
async def test_inline_jobs_run_to_the_end(kubectl: Kubectl, with_database: str) -> None:
    seen: list[object] = []

    async def handler(job: Job) -> None:
        seen.append(job.payload)

    kubectl.create(jobbatch("welcome", jobs=THREE, metadata={"campaign": "summer"}))
    waiting = await kubectl.wait("jobbatch", "welcome", lambda found: condition(found, "Enqueued") == "True Enqueued")
    assert counts(waiting) == {"total": 3, "pending": 3, "running": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert condition(waiting, "Ready") == "True Running"
    assert waiting["metadata"]["finalizers"] == ["hammerwork.io/batch-rows"]
    async with worker(with_database, handler):
        done = await kubectl.wait("jobbatch", "welcome", complete)
    assert counts(done) == {"total": 3, "pending": 0, "running": 0, "completed": 3, "failed": 0, "cancelled": 0}
    status = done["status"]
    assert (status["progress"], status["successRate"], status["observedGeneration"]) == ("100%", "100%", 1)
    assert status["startTime"] <= status["completionTime"]
    assert [condition(done, kind) for kind in ("Ready", "Reconciling", "Stalled", "Complete")] == [
        "True Completed",
        "False Completed",
        "False Completed",
        "True Completed",
    ]
    assert "annotations" not in done["metadata"]
    assert sorted(map(str, seen)) == sorted(["None", "{'to': 'a'}", "{'to': 'b'}"])
    await kubectl.wait_events("welcome", "Normal Enqueued", "Normal Completed")
    async with await JobQueue.connect(with_database) as queue:
        stored = await queue.get_batch_status(UUID(status["batchId"]))
    assert (stored.name, stored.metadata) == (f"{kubectl.namespace}/welcome", {"campaign": "summer"})


@pytest.mark.usefixtures("operator")
async def test_kubectl_can_wait_for_the_end(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("welcome", jobs=THREE))
    await kubectl.wait("jobbatch", "welcome", reason("Running"))
    async with worker(with_database) as running:
        await kubectl.wait("jobbatch", "welcome", complete)
        assert running.get_batch_stats().jobs_completed == 3
    kubectl("wait", "--for=condition=Complete", "jobbatch/welcome", "--timeout=50s")
    kubectl("wait", "--for=condition=Succeeded", "jobbatch/welcome", "--timeout=50s")
    kubectl("wait", "--for=jsonpath={.status.completedJobs}=3", "jobbatch/welcome", "--timeout=50s")


@pytest.mark.usefixtures("operator")
async def test_generated_jobs_have_their_index(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(
        jobbatch("files", generate={"count": 2_500, "payload": {"f": "file_{{ index }}", "n": "{{ index }}"}})
    )
    enqueued = await kubectl.wait("jobbatch", "files", reason("Running"))
    assert counts(enqueued)["total"] == 2_500
    async with await JobQueue.connect(with_database) as queue:
        last = await queue.get_batch_jobs(UUID(enqueued["status"]["batchId"]), after=2_498)
    assert [job.payload for job in last] == [{"f": "file_2499", "n": 2_499}]


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_failed_jobs_are_counted_and_grouped(kubectl: Kubectl, with_database: str) -> None:
    async def handler(job: Job) -> None:
        if job.payload["n"] < 3:
            raise ValueError(f"no user {job.payload['n']}{HOSTILE}")

    jobs = [{"payload": {"n": n}} for n in range(10)]
    kubectl.create(jobbatch("mixed", jobs=jobs, backoffLimit=0))
    async with worker(with_database, handler):
        done = await kubectl.wait("jobbatch", "mixed", complete)
    assert condition(done, "Complete") == "True CompletedWithErrors"
    assert (counts(done)["completed"], counts(done)["failed"], done["status"]["successRate"]) == (7, 3, "70.0%")
    (group,) = done["status"]["errors"]
    assert (group["type"], group["count"]) == ("ValueError", 3)
    assert group["message"].startswith(f"no user {group['index']}")
    await kubectl.wait_events("mixed", "Normal Enqueued", "Warning CompletedWithErrors")
    kubectl("wait", "--for=condition=Succeeded=false", "jobbatch/mixed", "--timeout=50s")
    for command in (
        "describe jobbatch mixed",
        "get events",
        "get jobbatch mixed -o jsonpath={.status.errors[0].message}",
    ):
        assert steering(kubectl(*command.split()), but="\n\t") == set()


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_fail_fast_fails_the_batch(kubectl: Kubectl, with_database: str) -> None:
    async def handler(job: Job) -> None:
        raise ValueError(f"bad job {job.index}")

    jobs = [{"payload": n} for n in range(500)]
    kubectl.create(jobbatch("strict", jobs=jobs, partialFailureMode="FailFast", batchSize=1))
    async with worker(with_database, handler):
        failed = await kubectl.wait("jobbatch", "strict", lambda found: "completionTime" in found.get("status", {}))
    assert [condition(failed, kind) for kind in ("Ready", "Stalled", "Failed", "Complete")] == [
        "False JobFailed",
        "True JobFailed",
        "True JobFailed",
        "-",
    ]
    found = counts(failed)
    assert found["failed"] >= 1
    assert found["cancelled"] > 0
    assert found["failed"] + found["cancelled"] == 500
    assert "ValueError: bad job" in failed["status"]["conditions"][0]["message"]
    await kubectl.wait_events("strict", "Normal Enqueued", "Warning JobFailed")
    kubectl("wait", "--for=condition=Succeeded=false", "jobbatch/strict", "--timeout=50s")


@pytest.mark.also_on("mariadb")
async def test_an_operator_that_is_killed_while_loading_goes_on_where_it_was(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    total = 200_000
    async with loading_stops_at(with_database, 100_000), await JobQueue.connect(with_database) as queue:
        kubectl.create(jobbatch("large", generate={"count": total, "payload": "{{ index }}"}))
        loading = await kubectl.wait(
            "jobbatch",
            "large",
            lambda found: (
                condition(found, "Ready") == "False Loading"
                and found["status"]["conditions"][0]["message"] == "100,000 of 200,000 jobs loaded"
            ),
        )
        operator.kill()
        at_kill = await queue.get_batch_status(UUID(loading["status"]["batchId"]))
        assert (at_kill.state.value, at_kill.total_jobs) == ("Loading", 100_000)
    operator.start()
    enqueued = await kubectl.wait("jobbatch", "large", reason("Running"), seconds=120)
    assert counts(enqueued)["total"] == total
    assert await different_payloads(with_database) == total


async def test_an_operator_that_was_away_catches_up(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    kubectl.create(jobbatch("welcome", jobs=THREE))
    await kubectl.wait("jobbatch", "welcome", reason("Running"))
    assert operator.stop() == 0
    async with worker(with_database) as running, await JobQueue.connect(with_database) as queue:
        batch_id = UUID(kubectl.get("jobbatch", "welcome")["status"]["batchId"])
        await queue.wait(batch_id, timeout=30)
        assert running.get_batch_stats().jobs_completed == 3
    assert condition(kubectl.get("jobbatch", "welcome"), "Ready") == "True Running"
    operator.start()
    await kubectl.wait("jobbatch", "welcome", complete)


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_suspend_stops_and_resume_goes_on(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("paused", jobs=THREE, suspend=True))
    suspended = await kubectl.wait("jobbatch", "paused", reason("Suspended"))
    assert [condition(suspended, kind) for kind in ("Ready", "Suspended", "Enqueued")] == [
        "True Suspended",
        "True Suspended",
        "True Enqueued",
    ]
    async with worker(with_database) as running:
        kubectl.patch("jobbatch", "paused", {"spec": {"suspend": False}})
        done = await kubectl.wait("jobbatch", "paused", complete)
        assert running.get_batch_stats().jobs_completed == 3
    assert condition(done, "Suspended") == "False Resumed"
    assert done["status"]["observedGeneration"] == 2


@pytest.mark.usefixtures("operator")
async def test_a_running_batch_can_be_suspended(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("paused", jobs=THREE))
    await kubectl.wait("jobbatch", "paused", reason("Running"))
    kubectl.patch("jobbatch", "paused", {"spec": {"suspend": True}})
    suspended = await kubectl.wait("jobbatch", "paused", reason("Suspended"))
    async with await JobQueue.connect(with_database) as queue:
        assert (await queue.get_batch_status(UUID(suspended["status"]["batchId"]))).suspended


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_deletion_follows_the_policy(kubectl: Kubectl, with_database: str) -> None:
    ids = {}
    for policy in ("Delete", "Cancel", "Orphan"):
        kubectl.create(jobbatch(policy.lower(), jobs=THREE, deletionPolicy=policy))
        enqueued = await kubectl.wait("jobbatch", policy.lower(), reason("Running"))
        ids[policy] = UUID(enqueued["status"]["batchId"])
    kubectl("delete", "jobbatches", "--all", "--timeout=30s")
    assert (await rows(with_database))["batches"] == 2
    async with await JobQueue.connect(with_database) as queue:
        found = await queue.get_batch_statuses(list(ids.values()))
    assert {batch_id: status.state.value for batch_id, status in found.items()} == {
        ids["Cancel"]: "Cancelled",
        ids["Orphan"]: "Pending",
    }


@pytest.mark.usefixtures("operator")
async def test_a_finished_batch_leaves_no_row_behind_when_it_is_deleted(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("done", jobs=THREE))
    async with worker(with_database):
        await kubectl.wait("jobbatch", "done", complete)
    kubectl("delete", "jobbatch", "done", "--timeout=30s")
    assert await rows(with_database) == NONE_LEFT


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_deletion_stops_a_load(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("huge", generate={"count": 100_000_000, "payload": "{{ index }}"}))
    await kubectl.wait("jobbatch", "huge", lambda found: condition(found, "Ready") == "False Loading")
    kubectl("delete", "jobbatch", "huge", "--timeout=60s")
    assert await rows(with_database) == NONE_LEFT


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_the_same_batch_is_not_run_twice_unless_asked(kubectl: Kubectl, with_database: str) -> None:
    runs = 0

    async def handler(_: Job) -> None:
        nonlocal runs
        runs += 1

    manifest = jobbatch("daily", jobs=THREE, deletionPolicy="Orphan")
    async with worker(with_database, handler):
        kubectl.create(manifest)
        first = await kubectl.wait("jobbatch", "daily", complete)
        kubectl("delete", "jobbatch", "daily", "--timeout=30s")
        kubectl.create(manifest)
        second = await kubectl.wait("jobbatch", "daily", complete)
        assert (runs, second["status"]["batchId"]) == (3, first["status"]["batchId"])
        assert second["status"]["completionTime"] == first["status"]["completionTime"]
        kubectl("delete", "jobbatch", "daily", "--timeout=30s")
        manifest["spec"]["runId"] = "tuesday"
        kubectl.create(manifest)
        await kubectl.wait("jobbatch", "daily", complete)
        assert runs == 6


@pytest.mark.usefixtures("operator")
async def test_the_time_to_live_removes_the_object_and_keeps_the_result(kubectl: Kubectl, with_database: str) -> None:
    async with worker(with_database):
        kubectl.create(jobbatch("brief", jobs=THREE, ttlSecondsAfterFinished=2))
        await kubectl.wait_gone("jobbatch", "brief")
    assert (await rows(with_database))["batches"] == 1
    # Created again, it shows the result, for its time to live; deleted within that time, the rows go too.
    kubectl.create(jobbatch("brief", jobs=THREE, ttlSecondsAfterFinished=600))
    again = await kubectl.wait("jobbatch", "brief", complete)
    await kubectl.wait_events("brief", "Normal Enqueued", "Normal Completed", "Normal Completed")
    assert again["status"]["completionTime"] < again["metadata"]["creationTimestamp"]
    kubectl("delete", "jobbatch", "brief", "--timeout=30s")
    assert await rows(with_database) == NONE_LEFT


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_the_deadline_fails_the_batch_unless_it_is_suspended(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("paused", jobs=THREE, activeDeadlineSeconds=2, suspend=True))
    suspended = await kubectl.wait("jobbatch", "paused", reason("Suspended"))
    assert "startTime" not in suspended["status"]
    kubectl.create(jobbatch("late", jobs=THREE, activeDeadlineSeconds=2))
    failed = await kubectl.wait("jobbatch", "late", lambda found: condition(found, "Failed").startswith("True"))
    assert condition(failed, "Failed") == "True DeadlineExceeded"
    assert counts(failed)["cancelled"] == 3
    assert failed["status"]["conditions"][0]["message"].startswith("not done within 2 seconds")
    assert (await rows(with_database))["batches"] == 2
    assert condition(kubectl.get("jobbatch", "paused"), "Ready") == "True Suspended"
    kubectl.patch("jobbatch", "paused", {"spec": {"suspend": False, "activeDeadlineSeconds": 1}})
    late = await kubectl.wait("jobbatch", "paused", lambda found: condition(found, "Failed").startswith("True"))
    assert condition(late, "Failed") == "True DeadlineExceeded"
    assert late["status"]["startTime"] >= failed["status"]["completionTime"]


@pytest.mark.usefixtures("operator")
async def test_a_missing_secret_is_reported_and_its_appearance_heals(kubectl: Kubectl, database_url: str) -> None:
    kubectl.create(jobbatch("early", jobs=THREE))
    stalled = await kubectl.wait("jobbatch", "early", reason("SecretNotFound"))
    assert [condition(stalled, kind) for kind in ("Ready", "Stalled")] == [
        "False SecretNotFound",
        "True SecretNotFound",
    ]
    assert stalled["status"]["conditions"][0]["message"] == (
        f"Secret {kubectl.namespace}/hammerwork-database does not exist; create it with the database URL under 'url'"
    )
    kubectl.create(secret(database_url, key="dsn"))
    await kubectl.wait("jobbatch", "early", reason("SecretKeyNotFound"))
    kubectl.patch("secret", "hammerwork-database", {"stringData": {"url": "mongodb://somewhere"}})
    await kubectl.wait("jobbatch", "early", reason("InvalidDatabaseURL"))
    kubectl.patch("secret", "hammerwork-database", {"stringData": {"url": database_url}})
    healed = await kubectl.wait("jobbatch", "early", reason("Running"), seconds=90)
    assert condition(healed, "Stalled") == "False Running"


@pytest.mark.usefixtures("operator")
async def test_a_database_that_is_away_is_waited_for(kubectl: Kubectl, database_url: str) -> None:
    kubectl.create(secret("postgresql://postgres@127.0.0.1:1/nowhere"))
    kubectl.create(jobbatch("patient", jobs=THREE))
    away = await kubectl.wait("jobbatch", "patient", reason("DatabaseUnavailable"))
    assert [condition(away, kind) for kind in ("Reconciling", "Stalled")] == [
        "True DatabaseUnavailable",
        "False DatabaseUnavailable",
    ]
    kubectl.patch("secret", "hammerwork-database", {"stringData": {"url": database_url}})
    await kubectl.wait("jobbatch", "patient", reason("Running"), seconds=90)


@pytest.mark.usefixtures("operator")
async def test_a_lost_secret_does_not_block_deletion_for_ever(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("stuck", jobs=THREE))
    await kubectl.wait("jobbatch", "stuck", reason("SecretNotFound"))
    kubectl("delete", "jobbatch", "stuck", "--timeout=60s")
    await kubectl.wait_events("stuck", "Warning SecretNotFound", "Warning RowsOrphaned")


@pytest.mark.usefixtures("operator")
async def test_a_bad_template_fails_the_batch(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("typo", generate={"count": 5, "payload": {"file": "{{ indx }}"}}))
    failed = await kubectl.wait("jobbatch", "typo", lambda found: condition(found, "Failed").startswith("True"))
    assert condition(failed, "Failed") == "True InvalidSource"
    assert failed["status"]["conditions"][0]["message"] == (
        "spec.generate.payload.file: unknown placeholder '{{ indx }}'; the only one is '{{ index }}'"
    )
    assert await rows(with_database) == NONE_LEFT


@pytest.mark.usefixtures("operator")
@pytest.mark.also_on("mariadb")
async def test_rows_that_somebody_removed_are_not_run_again(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(jobbatch("hurt", jobs=THREE))
    enqueued = await kubectl.wait("jobbatch", "hurt", reason("Running"))
    async with await JobQueue.connect(with_database) as queue:
        await queue.delete_batch(UUID(enqueued["status"]["batchId"]))
    missing = await kubectl.wait("jobbatch", "hurt", reason("RowsMissing"))
    assert condition(missing, "Failed") == "-"
    assert await rows(with_database) == NONE_LEFT
    kubectl("delete", "jobbatch", "hurt", "--timeout=30s")


@pytest.mark.usefixtures("operator")
async def test_a_mebibyte_of_jobs_is_not_copied_anywhere(kubectl: Kubectl, with_database: str) -> None:
    jobs = [{"payload": {"n": n, "text": "x" * 70}} for n in range(10_000)]
    kubectl.create(jobbatch("full", jobs=jobs))
    async with worker(with_database):
        done = await kubectl.wait("jobbatch", "full", complete, seconds=120)
    assert counts(done)["completed"] == 10_000
    assert "annotations" not in done["metadata"]
