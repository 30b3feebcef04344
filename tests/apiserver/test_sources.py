"""The sources of a JobBatch's jobs: real API server, real operator process, real PostgreSQL."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hammerwork import BatchState, JobQueue
from tests.apiserver.barrier import loading_stops_at
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch
from tests.harness.observing import numbers, sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest


def reason(wanted: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready").endswith(f" {wanted}")


def configmap(name: str, *, packed: bytes | None = None, **data: str) -> Manifest:
    found: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    if packed is not None:
        return {**found, "binaryData": {"jobs.ndjson.gz": base64.b64encode(packed).decode()}}
    return {**found, "data": {key.replace("_", "."): text for key, text in data.items()}}


def refs(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "key": key} for name, key in pairs]


def message(found: Manifest) -> str:
    return next(str(entry["message"]) for entry in found["status"]["conditions"] if entry["type"] == "Ready")


async def payloads(url: str, found: Manifest, *, after: int = -1) -> list[Any]:
    async with await JobQueue.connect(url) as queue:
        return [job.payload for job in await queue.get_batch_jobs(UUID(found["status"]["batchId"]), after=after)]


@pytest.mark.usefixtures("operator")
async def test_jobs_are_made_for_items_and_combinations(kubectl: Kubectl, with_database: str) -> None:
    items = [{"country": "de", "n": 1}, {"country": "fr", "n": None}]
    matrix = {"day": {"from": "2026-02-28", "to": "2026-03-01"}, "country": ["de", "fr"]}
    kubectl.create(
        jobbatch("items", generate={"items": items, "payload": ["{{ item.n }}", "{{ index }}{{ item.country }}"]})
    )
    kubectl.create(jobbatch("matrix", generate={"matrix": matrix, "payload": "{{ matrix.country }} {{ matrix.day }}"}))
    kubectl.create(jobbatch("bad", generate={"items": items, "payload": {"a": [0, "{{ item.m }}"]}}))
    assert await payloads(with_database, await kubectl.wait("jobbatch", "items", reason("Running"))) == [
        [1, "0de"],
        [None, "1fr"],
    ]
    found = await kubectl.wait("jobbatch", "matrix", reason("Running"))
    days = ("2026-02-28", "2026-03-01")
    assert await payloads(with_database, found) == [f"{country} {day}" for country in ("de", "fr") for day in days]
    bad = await kubectl.wait("jobbatch", "bad", reason("InvalidSource"))
    assert message(bad) == "spec.generate.payload.a[1]: '{{ item.m }}': spec.generate.items[0] has no 'm'"


async def test_jobs_come_from_configmaps_which_are_waited_for_and_not_needed_any_more_later(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    lines = "".join(json.dumps({"n": n}) + "\n" for n in range(12_000))
    kubectl.create(
        jobbatch("mails", configMapRefs=refs(("a", "jobs.csv"), ("b", "jobs.ndjson.gz"), ("a", "jobs.json")))
    )
    missing = await kubectl.wait("jobbatch", "mails", reason("ConfigMapNotFound"))
    place = "spec.configMapRefs[0] (ConfigMap a, key jobs.csv)"
    told = f"there is no such ConfigMap in namespace {kubectl.namespace}; create it with the jobs"
    assert message(missing) == f"{place}: {told}"
    # Another batch that wants the same has it elsewhere.
    kubectl.create(configmap("d", jobs_json="[1]"))
    kubectl.create(jobbatch("other", configMapRefs=refs(("d", "jobs.json"), ("a", "jobs.csv"))))
    other = await kubectl.wait("jobbatch", "other", reason("ConfigMapNotFound"))
    assert message(other) == f"spec.configMapRefs[1] (ConfigMap a, key jobs.csv): {told}"
    kubectl("delete", "jobbatch", "other")
    assert condition(missing, "Stalled").startswith("True")
    assert not {"totalJobs", "pendingJobs", "batchId", "progress"} & set(missing["status"])
    kubectl.create(configmap("a", jobs_json="[null, [1]]"))
    keyless = await kubectl.wait("jobbatch", "mails", reason("ConfigMapKeyNotFound"))
    assert message(keyless) == f"{place}: the ConfigMap has no such key; put the jobs there"
    kubectl.patch("configmap", "a", {"data": {"jobs.csv": 'to,name\r\nx@example.com,"X, Y"\r\n'}})
    kubectl.create(configmap("b", packed=gzip.compress(lines.encode())))
    loaded = await kubectl.wait("jobbatch", "mails", reason("Running"))
    assert (loaded["status"]["totalJobs"], loaded["status"]["pendingJobs"]) == (12_003, 12_003)
    assert next(c["message"] for c in loaded["status"]["conditions"] if c["type"] == "Enqueued") == (
        "12,003 jobs in queue work"
    )
    first, last = await payloads(with_database, loaded), await payloads(with_database, loaded, after=11_999)
    assert first[:2] == [{"to": "x@example.com", "name": "X, Y"}, {"n": 0}]
    assert last == [{"n": 11_999}, None, [1]]

    # What it was loaded from may change or go.
    operator.stop()
    kubectl("delete", "configmap", "b")
    kubectl.patch("configmap", "a", {"data": {"jobs.csv": None}})
    operator.start()
    kubectl.patch("jobbatch", "mails", {"spec": {"suspend": True}})
    held = await kubectl.wait("jobbatch", "mails", reason("Suspended"))
    kept = ("batchId", "contentDigest", "totalJobs")
    assert {key: held["status"][key] for key in kept} == {key: loaded["status"][key] for key in kept}

    # Another content makes another batch; a bad one makes none.
    kubectl.create(configmap("c", jobs_csv="to\nx\n", jobs_ndjson='{"a": 1}\n{"a": }\n'))
    kubectl.create(jobbatch("bad", configMapRefs=refs(("c", "jobs.csv"), ("c", "jobs.ndjson"))))
    bad = await kubectl.wait("jobbatch", "bad", reason("InvalidSource"))
    assert message(bad) == (
        "spec.configMapRefs[1] (ConfigMap c, key jobs.ndjson): line 2: not JSON: invalid character (byte 6)"
    )
    kubectl("delete", "jobbatch", "mails", "bad", "--timeout=30s")
    async with await JobQueue.connect(with_database) as queue:
        assert await queue.list_batches() == []


async def test_a_content_that_changes_while_it_is_loaded_is_loaded_from_the_beginning(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    def shard(text: str) -> Manifest:
        return configmap("a", packed=gzip.compress((f'"{text}"\n' * 25_000).encode()))

    kubectl.create(shard("old"))
    async with loading_stops_at(with_database, 10_000):
        kubectl.create(jobbatch("mails", configMapRefs=refs(("a", "jobs.ndjson.gz"))))
        before = await kubectl.wait(
            "jobbatch", "mails", lambda found: reason("Loading")(found) and message(found) == "10,000 jobs loaded"
        )
        assert "totalJobs" not in before["status"]
        operator.kill()
        kubectl.patch("configmap", "a", {"binaryData": shard("new")["binaryData"]})
    operator.start()
    loaded = await kubectl.wait("jobbatch", "mails", reason("Running"))
    assert loaded["status"]["totalJobs"] == 25_000
    assert loaded["status"]["batchId"] != before["status"]["batchId"]
    assert set(await payloads(with_database, loaded)) == {"new"}
    async with await JobQueue.connect(with_database) as queue:
        assert [batch.state for batch in await queue.list_batches()] == [BatchState.PENDING]
    async with sql(with_database) as connection:
        assert await connection.value("SELECT count(DISTINCT batch_id) FROM hammerwork_pages") == 1


MANY = numbers(20_000)
SLEEP = {
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT n FROM (SELECT 1 AS n UNION SELECT 2) t WHERE SLEEP(600)",
}


@pytest.mark.also_on("mariadb")
async def test_a_query_makes_a_job_of_each_row_where_it_is_allowed(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, with_database: str
) -> None:
    many = f"SELECT id, concat('user', id) AS name FROM ({MANY}) m ORDER BY id"
    kubectl.create(jobbatch("users", query={"sql": many}))
    stopped_operator.start()
    refused = await kubectl.wait("jobbatch", "users", reason("QueryNotAllowed"))
    assert condition(refused, "Stalled").startswith("True")
    assert "operator.allowQuerySource" in message(refused)
    stopped_operator.stop()
    stopped_operator.environment["HAMMERWORK_ALLOW_QUERY_SOURCE"] = "true"
    async with loading_stops_at(with_database, 10_000):
        stopped_operator.start()
        await kubectl.wait(
            "jobbatch", "users", lambda found: reason("Loading")(found) and message(found) == "10,000 jobs loaded"
        )
        stopped_operator.kill()
    stopped_operator.start()
    loaded = await kubectl.wait("jobbatch", "users", reason("Running"))
    assert loaded["status"]["totalJobs"] == 20_000
    assert await payloads(with_database, loaded, after=19_998) == [{"id": 19_999, "name": "user19999"}]

    sleep = SLEEP["postgresql" if with_database.startswith("postgresql") else "mysql"]
    late = f"SELECT CASE WHEN id = 15000 THEN (SELECT 1 UNION SELECT 2) ELSE id END AS n FROM ({MANY}) m ORDER BY id"
    bad = {
        "missing": ("SELECT * FROM invoices", "invoices"),
        "late": (late, r"[Ss]ubquery"),
        "endless": (sleep, "statement timeout|max_statement_time|maximum statement execution time"),
        "writes": (
            "WITH a AS (DELETE FROM hammerwork_batches RETURNING id) SELECT id FROM a",
            "read-only transaction|SQL syntax",
        ),
    }
    kubectl.create(jobbatch("long", query={"sql": sleep, "timeoutSeconds": 600}))
    await kubectl.wait("jobbatch", "long", reason("Loading"))
    for name, (text, _) in bad.items():
        kubectl.create(jobbatch(name, query={"sql": text, "timeoutSeconds": 1 if name == "endless" else 60}))
    told = f"0 jobs loaded; waiting for another query of namespace {kubectl.namespace}, which has one at a time"
    await kubectl.wait("jobbatch", "missing", lambda found: reason("Loading")(found) and message(found) == told)
    kubectl("delete", "jobbatch", "long", "--timeout=30s")
    for name, (_, words) in bad.items():
        assert re.search(words, message(await kubectl.wait("jobbatch", name, reason("InvalidSource"))))
    # A batch that is loaded does not need the permission any more.
    stopped_operator.stop()
    del stopped_operator.environment["HAMMERWORK_ALLOW_QUERY_SOURCE"]
    stopped_operator.start()
    kubectl.patch("jobbatch", "users", {"spec": {"suspend": True}})
    await kubectl.wait("jobbatch", "users", reason("Suspended"))
    async with await JobQueue.connect(with_database) as queue:
        assert [batch.name for batch in await queue.list_batches()] == [f"{kubectl.namespace}/users"]
