"""What people see with kubectl."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

STATUS: Manifest = {
    "observedGeneration": 1,
    "totalJobs": 1_000_000,
    "pendingJobs": 550_000,
    "completedJobs": 449_100,
    "failedJobs": 900,
    "progress": "45%",
    "successRate": "99.8%",
    "jobsPerSecond": 812.0,
    "estimatedCompletionTime": "2026-05-01T12:20:33Z",
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Running",
            "message": "",
            "lastTransitionTime": "2026-05-01T12:00:00Z",
        }
    ],
}


def test_the_list_of_batches(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("welcome", generate={"count": 1_000_000, "payload": {}}))
    kubectl("patch", "jb", "welcome", "--subresource=status", "--type=merge", "-p", json.dumps({"status": STATUS}))
    header, line = (row.split() for row in kubectl("get", "jobbatches").splitlines())
    assert header == ["NAME", "QUEUE", "STATUS", "PROGRESS", "TOTAL", "COMPLETED", "FAILED", "AGE"]
    assert line[:-1] == ["welcome", "work", "Running", "45%", "1000000", "449100", "900"]
    header, line = (row.split() for row in kubectl("get", "jb", "-o", "wide").splitlines())
    assert header[7:12] == ["PENDING", "SUCCESS", "MODE", "JOBS/S", "ETA"]
    assert line[7:12] == ["550000", "99.8%", "ContinueOnError", "812", "2026-05-01T12:20:33Z"]


def test_the_list_of_pools(kubectl: Kubectl) -> None:
    kubectl.create(workerpool("mailers", replicas=3))
    header, line = (row.split() for row in kubectl("get", "wp", "-o", "wide").splitlines())
    assert header == ["NAME", "QUEUE", "STATUS", "DESIRED", "READY", "DEPTH", "CONCURRENCY", "HANDLER", "AGE"]
    # Status, desired, ready and depth are told by the operator, which no test of this file has.
    assert line[:3] == ["mailers", "work", "10"]


def test_the_category_shows_both_kinds(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("welcome", jobs=[{"payload": 1}]))
    kubectl.create(workerpool("mailers"))
    assert kubectl("get", "hammerwork", "-o", "name").split() == [
        "jobbatch.hammerwork.io/welcome",
        "workerpool.hammerwork.io/mailers",
    ]


def test_explain_tells_what_the_fields_mean(kubectl: Kubectl) -> None:
    text = " ".join(kubectl("explain", "jobbatch.spec").split())
    for words in (
        "batchSize <integer> How many jobs a worker takes at most at a time.",
        "queue <string> -required- Name of the queue; the workers of this queue run the jobs.",
        "enum: CollectErrors, ContinueOnError, FailFast What the failure of a job means for the others.",
        "jobs <[]Object> The jobs, at most 10,000. Exactly one of jobs, generate, configMapRefs and query has to be",
    ):
        assert words in text
    assert "{{ index }} is replaced by the job's index" in " ".join(
        kubectl("explain", "jobbatch.spec.generate.payload").split()
    )
    assert "A Python function in the worker's image." in kubectl("explain", "workerpool.spec.handler")


def test_a_wide_list_tells_the_handler(kubectl: Kubectl) -> None:
    kubectl.create(workerpool("wide", handler={"exec": {"command": ["convert", "{{ payload.in }}"]}}))
    assert '{"exec":{"command":["convert","{{ payload.in }}"]}}' in kubectl("get", "wp", "-o", "wide")
