"""`hammerwork run` as a user runs it: a process of its own, with the embedded PostgreSQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.observing import only_postgres
from tests.programs.place import ROOT

if TYPE_CHECKING:
    from tests.programs.place import Place


def test_failed_jobs_make_the_exit_code_1_and_are_grouped(place: Place) -> None:
    folder = place.add(
        "from hammerwork import JobFailedError\n"
        "def run(job):\n"
        "    if job.payload['n'] % 2:\n"
        "        raise JobFailedError(f\"odd: {job.payload['n']}\")\n",
        count=10,
    )
    done = place.run("run", folder, "-o", "json")
    assert done.returncode == 1, done.stderr
    [batch] = json.loads(done.stdout)["batches"]
    assert batch["state"] == "CompletedWithErrors"
    assert (batch["completedJobs"], batch["failedJobs"], batch["successRate"]) == (5, 5, 0.5)
    [group] = batch["errors"]
    assert (group["type"], group["count"]) == ("JobFailedError", 5)
    assert group["message"] == f"odd: {group['index']}"
    place.assert_nothing_is_left()


def test_a_failed_batch_makes_the_exit_code_1(place: Place) -> None:
    folder = place.add(
        "async def run(job):\n    raise RuntimeError('down')\n",
        count=200,
        batchSize=1,
        partialFailureMode="FailFast",
        pool={"concurrency": 1},
    )
    done = place.run("run", folder)
    assert done.returncode == 1, done.stderr
    shown = " ".join(done.stdout.split())
    assert "default/work Failed" in shown
    assert "RuntimeError 1 0 down" in shown
    place.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchSize": 0}, "manifests/work.yaml: JobBatch default/work: spec.batchSize: 0, must be 1 to 1000"),
        (
            {"queue": "other"},
            "manifests/work.yaml: JobBatch default/work: spec.queue: 'other', no WorkerPool in the files works on this",
        ),
        (
            {"generate": {"count": 1, "payload": "{{ number }}"}},
            "JobBatch default/work: spec.generate.payload: unknown placeholder",
        ),
        ({"pool": {"handler": {"python": {"function": "work:walk"}}}}, "'work' has no 'walk'"),
        ({"pool": {"handler": {"python": {"function": "leaving:run"}}}}, "importing 'leaving' called sys.exit(0); put"),
        ({"pool": {"handler": {"python": {"function": "leaving.py:run"}}}}, "leaving.py called sys.exit(0); put"),
        ({"pool": {"handler": {"python": {"function": "yielding:run"}}}}, "it has a 'yield' in it"),
    ],
)
def test_bad_input_is_told_before_anything_is_started(place: Place, change: dict[str, Any], message: str) -> None:
    folder = place.add("def run(job):\n    pass\n", **change)
    (folder / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "yielding.py").write_text("async def run(job):\n    yield\n")
    done = place.run("run", folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    place.assert_nothing_is_left()


def test_a_payload_over_the_limit_is_bad_input_and_leaves_nothing(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n", generate={"count": 2, "payload": "x" * 1_100_000})
    done = place.run("run", folder)
    assert done.returncode == 2
    assert "JobBatch default/work" in done.stderr
    assert "payload" in done.stderr
    place.assert_nothing_is_left()


def test_usage_errors_are_told(place: Place) -> None:
    assert place.run("run").returncode == 2
    assert place.run("run", place.manifests / "none").returncode == 2
    assert place.run("run", ROOT / "examples", "--timeout", "soon").returncode == 2
    done = place.run("run", "examples/data-processing", "--database-url", "postgresql://db/x", "--keep-data", "d")
    assert done.returncode == 2
    assert "cannot be combined with --database-url" in done.stderr


def test_kept_data_are_there_for_the_next_run(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n")
    data = place.manifests / "data"
    assert place.run("run", folder, "--keep-data", data).returncode == 0
    assert (data / "PG_VERSION").exists()
    again = place.run("run", folder, "--keep-data", data)
    assert again.returncode == 0, again.stderr
    place.assert_nothing_is_left()
    refused = place.run("run", folder, "--keep-data", place.manifests)
    assert refused.returncode == 2
    assert "contains other files" in refused.stderr


@only_postgres
async def test_a_run_on_a_given_database_leaves_its_batches_there_for_the_other_commands(
    place: Place, database_url: str
) -> None:
    folder = place.add(
        "def run(job):\n    if job.index == 7:\n        raise ValueError('seven')\n", count=20, backoffLimit=0
    )
    done = place.run("run", folder, "--database-url", database_url, "--output", "json")
    assert done.returncode == 1, done.stderr
    [batch] = json.loads(done.stdout)["batches"]
    name = batch["batchId"]

    def ask(*arguments: str) -> Any:
        told = place.run(*arguments, "--output", "json", HAMMERWORK_DATABASE_URL=database_url)
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    assert ask("status", name) == batch
    assert ask("errors", name) == batch["errors"]
    [failed] = ask("jobs", name, "--status", "Failed")
    assert (failed["index"], failed["payload"], failed["error"]["type"]) == (7, {"n": 7}, "ValueError")
    assert [job["index"] for job in ask("jobs", name, "--after", "14", "--limit", "3")] == [15, 16, 17]
    assert ask("depth") == {}
    assert ask("migrate") == {"migrated": True}
    assert ask("cancel", name)["state"] == "CompletedWithErrors"
    assert ask("delete", name) == {"batchId": name, "deleted": True}
    gone = place.run("status", name, HAMMERWORK_DATABASE_URL=database_url)
    assert gone.returncode == 2
    assert f"batch {name}: not found" in gone.stderr


async def test_a_database_that_cannot_be_reached_ends_the_run(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n")
    done = place.run("run", folder, "--database-url", "postgresql://postgres@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_jobs_come_from_configmaps_and_queries(place: Place) -> None:
    folder = place.add("def run(job):\n    assert set(job.payload) in ({'n'}, {'name'}), job.payload\n", count=1)
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: part}
data: {"jobs.csv": "n\\n1\\n2\\n"}
---
apiVersion: hammerwork.io/v1alpha1
kind: JobBatch
metadata: {name: mails}
spec: {queue: q, configMapRefs: [{name: part, key: jobs.csv}]}
---
apiVersion: hammerwork.io/v1alpha1
kind: JobBatch
metadata: {name: rows}
spec: {queue: q, query: {sql: SELECT name FROM hammerwork_batches}}
"""
    (folder / "more.yaml").write_text(text)
    done = place.run("run", folder, "-o", "json")
    assert done.returncode == 0, done.stderr
    counts = {batch["name"]: batch["completedJobs"] for batch in json.loads(done.stdout)["batches"]}
    assert counts["default/mails"] == 2
    assert counts["default/rows"] >= 1
    (folder / "more.yaml").write_text(text.replace("SELECT name", "SELECT nothing"))
    failed = place.run("run", folder)
    assert failed.returncode == 2
    assert 'spec.query: column "nothing" does not exist (at character 8)' in " ".join(failed.stderr.split())
    place.assert_nothing_is_left()
