"""What the API server refuses, and what it says. No operator runs here: the CRDs alone do it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.kubectl import CommandError
from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

ONE = [{"payload": 1}]

ONE_SOURCE = "given, must be exactly one of jobs, generate, configMapRefs and query"
ONE_TARGET = "given, must be exactly one of targetJobsPerWorker and targetDrainSeconds"
ONE_HANDLER = "given, must be exactly one of python, exec, stream and http"

REFUSED: dict[str, tuple[Manifest, str]] = {
    "no jobs": (jobbatch("bad"), f'The JobBatch "bad" is invalid: spec: Invalid value: none {ONE_SOURCE}'),
    "two sources": (
        jobbatch("bad", jobs=ONE, generate={"count": 1, "payload": 1}),
        f'The JobBatch "bad" is invalid: spec: Invalid value: jobs and generate {ONE_SOURCE}',
    ),
    "an empty list": (
        jobbatch("bad", jobs=[]),
        'The JobBatch "bad" is invalid: spec.jobs: Invalid value: 0: spec.jobs in body should have at least 1 items',
    ),
    "a job of another queue": (
        jobbatch("bad", jobs=[*ONE * 9_998, {"payload": 1, "queue": "work"}, {"payload": 1, "queue": "other"}]),
        (
            'The JobBatch "bad" is invalid: spec.jobs: Invalid value: jobs[9999].queue: "other", but queue is "work"; '
            "all jobs of a batch go to one queue: leave out the queue of jobs, or make one JobBatch per queue"
        ),
    ),
    "an unknown failure mode": (
        jobbatch("bad", jobs=ONE, partialFailureMode="Never"),
        (
            'spec.partialFailureMode: Unsupported value: "Never": supported values: "CollectErrors", '
            '"ContinueOnError", '
            '"FailFast"'
        ),
    ),
    "an unknown priority": (
        jobbatch("bad", jobs=[{"payload": 1, "priority": "Urgent"}]),
        (
            'spec.jobs[0].priority: Unsupported value: "Urgent": supported values: "Background", "Critical", '
            '"High", "Low", '
            '"Normal"'
        ),
    ),
    "a batch size of 0": (
        jobbatch("bad", jobs=ONE, batchSize=0),
        "spec.batchSize: Invalid value: 0: spec.batchSize in body should be greater than or equal to 1",
    ),
    "a batch size of 1001": (
        jobbatch("bad", jobs=ONE, batchSize=1001),
        "spec.batchSize: Invalid value: 1001: spec.batchSize in body should be less than or equal to 1000",
    ),
    "10,001 jobs": (
        jobbatch("bad", jobs=ONE * 10_001),
        "spec.jobs: Too many: 10001: must have at most 10000 items",
    ),
    "a job without a payload": (jobbatch("bad", jobs=[{}]), "spec.jobs[0].payload: Required value"),
    "a bad queue name": (
        jobbatch("bad", queue="mail queue", jobs=ONE),
        (
            'spec.queue: Invalid value: "mail queue": spec.queue in body should match '
            "'^[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$'"
        ),
    ),
    "a retry policy upside down": (
        jobbatch("bad", jobs=ONE, retryPolicy={"initialSeconds": 600}),
        (
            'The JobBatch "bad" is invalid: spec.retryPolicy: Invalid value: initialSeconds is 600, must not be above '
            "maxSeconds, which is 300 (default: 300)"
        ),
    ),
    "a metadata key that is too long": (
        jobbatch("bad", jobs=ONE, metadata={"a": "b", "\n" + "k" * 6_000: "v"}),
        (
            'The JobBatch "bad" is invalid: spec.metadata: Invalid value: keys must have 1 to 63 characters, this one '
            rf'has 6001: "\n{"k" * 99}"'
        ),
    ),
    "a metadata value that is too long": (
        jobbatch("bad", jobs=ONE, metadata={"a": "b" * 1_025}),
        "spec.metadata.a: Too long: may not be more than 1024 bytes",
    ),
    "65 entries of metadata": (
        jobbatch("bad", jobs=ONE, metadata={f"k{n}": "v" for n in range(65)}),
        "spec.metadata: Too many: 65: must have at most 64 items",
    ),
    "nothing to generate": (
        jobbatch("bad", generate={"count": 0, "payload": 1}),
        "spec.generate.count: Invalid value: 0: spec.generate.count in body should be greater than or equal to 1",
    ),
    "no number, items or matrix": (
        jobbatch("bad", generate={"payload": 1}),
        '"spec.generate" must validate one and only one schema (oneOf). Found none valid',
    ),
    "items beside a matrix": (
        jobbatch("bad", generate={"payload": 1, "items": [1], "matrix": {"a": [1]}}),
        '"spec.generate" must validate one and only one schema (oneOf). Found 2 valid alternatives',
    ),
    "10,001 items": (
        jobbatch("bad", generate={"payload": 1, "items": [None] * 10_001}),
        "spec.generate.items: Too many: 10001: must have at most 10000 items",
    ),
    "a matrix without names": (
        jobbatch("bad", generate={"payload": 1, "matrix": {}}),
        "spec.generate.matrix: Invalid value: 0: spec.generate.matrix in body should have at least 1 properties",
    ),
    "a matrix of 17 names": (
        jobbatch("bad", generate={"payload": 1, "matrix": {f"n{n}": [1] for n in range(17)}}),
        "spec.generate.matrix: Too many: 17: must have at most 16 items",
    ),
    "a name of a matrix without values": (
        jobbatch("bad", generate={"payload": 1, "matrix": {"a": []}}),
        "spec.generate.matrix.a: Invalid value: 0: spec.generate.matrix.a in body should have at least 1 items",
    ),
    "a shard of no known format": (
        jobbatch("bad", configMapRefs=[{"name": "a", "key": "jobs.txt.gz"}]),
        'spec.configMapRefs[0].key: Invalid value: "jobs.txt.gz": spec.configMapRefs[0].key in body should match',
    ),
    "a shard without a key": (
        jobbatch("bad", configMapRefs=[{"name": "a"}]),
        "spec.configMapRefs[0].key: Required value",
    ),
    "a query without a statement": (
        jobbatch("bad", query={"sql": ""}),
        'spec.query.sql: Invalid value: "": spec.query.sql in body should be at least 1 chars long',
    ),
    "two targets to scale by": (
        workerpool("bad", autoscaling={"maxReplicas": 2, "targetJobsPerWorker": 1, "targetDrainSeconds": 1}),
        (
            'The WorkerPool "bad" is invalid: spec.autoscaling: Invalid value: targetJobsPerWorker and '
            f"targetDrainSeconds {ONE_TARGET}"
        ),
    ),
    "nothing to scale by": (
        workerpool("bad", autoscaling={"maxReplicas": 2}),
        f"spec.autoscaling: Invalid value: none {ONE_TARGET}",
    ),
    "more workers at least than at most": (
        workerpool("bad", autoscaling={"minReplicas": 3, "maxReplicas": 2, "targetJobsPerWorker": 1}),
        "spec.autoscaling: Invalid value: minReplicas is 3, must not be above maxReplicas, which is 2",
    ),
    "one worker at least, by default, and none at most": (
        workerpool("bad", autoscaling={"maxReplicas": 0, "targetJobsPerWorker": 1}),
        "spec.autoscaling.maxReplicas: Invalid value: 0: spec.autoscaling.maxReplicas in body should be greater than",
    ),
    "a field that does not exist": (
        jobbatch("bad", jobs=ONE, batchsize=5),
        (
            'JobBatch in version "v1alpha1" cannot be handled as a JobBatch: strict decoding error: unknown field '
            '"spec.batchsize"'
        ),
    ),
    "a name that is too long": (
        jobbatch("b" * 190, jobs=ONE),
        "is invalid: metadata: Invalid value: metadata.name has 190 characters, must be at most 189",
    ),
    "a pool name that is too long": (
        workerpool("p" * 57),
        (
            "is invalid: metadata: Invalid value: metadata.name has 57 characters, must be at most 56, because the "
            "Deployment is called NAME-worker"
        ),
    ),
    "a handler without a function": (
        workerpool("bad", handler={"python": {"function": "handlers"}}),
        (
            'spec.handler.python.function: Invalid value: "handlers": spec.handler.python.function in body '
            "should match "
            "'^[^\\s:]+:[A-Za-z_][A-Za-z0-9_.]*$'"
        ),
    ),
    "no handler": (
        workerpool("bad", handler={}),
        f"spec.handler: Invalid value: none {ONE_HANDLER}",
    ),
    "two handlers": (
        workerpool("bad", handler={"python": {"function": "a:b"}, "exec": {"command": ["true"]}}),
        f"spec.handler: Invalid value: python and exec {ONE_HANDLER}",
    ),
    "no limit of a budget": (
        workerpool("bad", podDisruptionBudget={}),
        "spec.podDisruptionBudget: Invalid value: none given, must be exactly one of maxUnavailable and minAvailable",
    ),
    "an empty command": (
        workerpool("bad", handler={"exec": {"command": []}}),
        "spec.handler.exec.command: Invalid value: 0: spec.handler.exec.command in body should have at least 1 items",
    ),
    "an exit code that says success": (
        workerpool("bad", handler={"exec": {"command": ["true"], "failCodes": [0]}}),
        "spec.handler.exec.failCodes[0]: Invalid value: 0: spec.handler.exec.failCodes[0] in body should be greater",
    ),
    "no process that stays": (
        workerpool("bad", handler={"stream": {"command": ["node"], "processes": 0}}),
        "spec.handler.stream.processes: Invalid value: 0: spec.handler.stream.processes in body should be greater",
    ),
    "a URL of another kind": (
        workerpool("bad", handler={"http": {"url": "ftp://host/"}}),
        'spec.handler.http.url: Invalid value: "ftp://host/": spec.handler.http.url in body should match',
    ),
    "a Pod without a process": (
        workerpool("bad", processes=0),
        "spec.processes: Invalid value: 0: spec.processes in body should be greater than or equal to 1",
    ),
    "processes by another word": (
        workerpool("bad", processes="many"),
        'spec.processes: Invalid value: "many": spec.processes in body should match',
    ),
    "fewer than no workers": (
        workerpool("bad", replicas=-1),
        "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
    ),
}


@pytest.mark.parametrize(("manifest", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_manifest_is_refused_with_a_clear_message(admin: Kubectl, manifest: Manifest, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        admin("create", "--dry-run=server", "--filename=-", stdin=json.dumps(manifest))
    assert message in caught.value.said


CHANGES: list[dict[str, Any]] = [
    {"queue": "other"},
    {"batchSize": 5},
    {"partialFailureMode": "FailFast"},
    {"priority": "High"},
    {"backoffLimit": 1},
    {"retryPolicy": {"strategy": "Fixed"}},
    {"jobTimeoutSeconds": 5},
    {"metadata": {"a": "b"}},
    {"runId": "2"},
    {"databaseSecretRef": {"name": "other"}},
    {"jobs": [{"payload": 2}]},
    {"jobs": [{"payload": 1}, {"payload": 1}]},
]


@pytest.mark.parametrize("change", CHANGES, ids=json.dumps)
def test_what_defines_the_jobs_cannot_be_changed(kubectl: Kubectl, change: dict[str, Any]) -> None:
    kubectl.create(jobbatch("fixed", jobs=ONE))
    (field,) = change
    with pytest.raises(CommandError) as caught:
        kubectl.patch("jobbatch", "fixed", {"spec": change})
    assert caught.value.said == (
        f'The JobBatch "fixed" is invalid: spec.{field}: Forbidden: {field} cannot be changed after creation; '
        "delete the JobBatch and create it again, or create one with another name"
    )


def test_one_source_cannot_be_exchanged_for_the_other(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("fixed", jobs=ONE))
    with pytest.raises(CommandError, match="jobs cannot be changed after creation"):
        kubectl.patch("jobbatch", "fixed", {"spec": {"jobs": None, "generate": {"count": 1, "payload": 1}}})


@pytest.mark.parametrize(
    ("generate", "path", "other"),
    [
        ({"payload": 1, "items": [{"a": [1, 2]}, 3]}, "items/0/a/1", 5),
        ({"payload": 1, "matrix": {"a": [1], "b": {"from": 1, "to": 2}}}, "matrix/b/to", 3),
    ],
    ids=["items", "matrix"],
)
def test_what_is_generated_cannot_be_changed_anywhere(
    kubectl: Kubectl, generate: dict[str, Any], path: str, other: object
) -> None:
    kubectl.create(jobbatch("fixed", generate=generate))
    assert kubectl.get("jobbatch", "fixed")["spec"]["generate"] == generate
    change = json.dumps([{"op": "replace", "path": f"/spec/generate/{path}", "value": other}])
    with pytest.raises(CommandError, match="generate cannot be changed after creation"):
        kubectl("patch", "jobbatch", "fixed", "--type=json", "-p", change)


def test_what_steers_the_batch_can_be_changed(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("free", jobs=ONE))
    wanted = {
        "suspend": True,
        "activeDeadlineSeconds": 5,
        "ttlSecondsAfterFinished": 6,
        "deletionPolicy": "Orphan",
    }
    kubectl.patch("jobbatch", "free", {"spec": wanted})
    spec = kubectl.get("jobbatch", "free")["spec"]
    assert {key: spec[key] for key in wanted} == wanted


def test_ten_thousand_jobs_of_a_mebibyte_are_taken(kubectl: Kubectl) -> None:
    jobs = [{"payload": {"n": n, "text": "x" * 70}, "priority": "High", "queue": "work"} for n in range(10_000)]
    kubectl.create(jobbatch("full", jobs=jobs))
    found = kubectl.get("jobbatch", "full")
    assert found["spec"]["jobs"] == jobs
    kept = json.dumps(json.loads(kubectl("get", "jobbatch", "full", "-o", "json", "--show-managed-fields"))["metadata"])
    assert len(kept) < 4_000
    with pytest.raises(CommandError, match="jobs cannot be changed after creation"):
        kubectl("patch", "jobbatch", "full", "--type=json", "-p", json.dumps(LAST_PAYLOAD))


LAST_PAYLOAD = [{"op": "replace", "path": "/spec/jobs/9999/payload/n", "value": 0}]


def test_any_json_value_is_a_payload(kubectl: Kubectl) -> None:
    payloads = [None, True, 7, 1.5, "text", [1, [2]], {"a": {"b": None}}, {}, []]
    kubectl.create(jobbatch("any", jobs=[{"payload": payload} for payload in payloads]))
    assert [job["payload"] for job in kubectl.get("jobbatch", "any")["spec"]["jobs"]] == payloads


def test_the_defaults_are_written_out(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("plain", jobs=ONE))
    found = kubectl.get("jobbatch", "plain")
    assert found["spec"] == {
        "queue": "work",
        "batchSize": 100,
        "partialFailureMode": "ContinueOnError",
        "priority": "Normal",
        "suspend": False,
        "deletionPolicy": "Delete",
        "databaseSecretRef": {"name": "hammerwork-database", "key": "url"},
        "jobs": ONE,
    }
    assert found["status"] == {"observedGeneration": -1}
