"""Manifests from files: what is read, what is skipped, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hammerwork.handlers import KINDS
from hammerwork_cli.running.decoding import ManifestError
from hammerwork_cli.running.manifests import check_runnable, read_manifests
from hammerwork_operator.api.sources import KEY_PATTERN, GenerateSpec
from tests.harness.manifests import as_file, jobbatch, schedule, workerpool
from tests.harness.spellings import HEAD

KIND_NAMES = " or ".join(kind.name for kind in KINDS)

EXAMPLES = Path(__file__).parents[3] / "examples"

BATCH = jobbatch("x", queue="q", generate={"count": 3, "payload": {"n": "{{ index }}"}})
POOL = workerpool("p", queue="q")


def batch(**spec: Any) -> dict[str, Any]:
    return {**BATCH, "spec": {**BATCH["spec"], **spec}}


def pool(**spec: Any) -> dict[str, Any]:
    return {**POOL, "spec": {**POOL["spec"], **spec}}


def write(path: Path, *documents: Any) -> Path:
    path.write_text(as_file(*documents))
    return path


def test_a_folder_is_read_file_by_file_and_document_by_document(tmp_path: Path) -> None:
    write(tmp_path / "b.yml", POOL)
    write(tmp_path / "a.yaml", BATCH, None, {**BATCH, "metadata": {"name": "y", "namespace": "shop"}})
    (tmp_path / "notes.txt").write_text("not: [read")
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner" / "c.yaml", {**BATCH, "metadata": {"name": "z"}})

    found = read_manifests([tmp_path])

    assert [(m.path.name, m.namespace, m.name) for m in found.batches] == [
        ("a.yaml", "default", "x"),
        ("a.yaml", "shop", "y"),
    ]
    assert [(m.path.name, m.name, msgspec.to_builtins(m.spec.handler)) for m in found.pools] == [
        ("b.yml", "p", {"python": {"function": "handlers:run"}})
    ]


def test_a_schedule_is_skipped_and_told_what_to_do_instead(tmp_path: Path) -> None:
    path = write(tmp_path / "nightly.yaml", schedule("nightly", "@daily"))
    found = read_manifests([path])
    sentence = (
        "makes batches at times, which only the operator does: skipped; to try one, run its template as a JobBatch"
    )
    assert found.skipped == [f"{path}: JobBatchSchedule nightly {sentence}"]


PART = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "part"}, "data": {"a.ndjson": "1\n"}}
PACKED = {**PART, "metadata": {"name": "packed", "namespace": "shop"}, "binaryData": {"b.csv.gz": "H4sI"}}


def refs(*pairs: tuple[str, str], namespace: str = "default") -> dict[str, Any]:
    spec = {"queue": "q", "configMapRefs": [{"name": name, "key": key} for name, key in pairs]}
    return {**BATCH, "metadata": {"name": "x", "namespace": namespace}, "spec": spec}


def test_a_batch_finds_its_configmaps_in_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", refs(("part", "a.ndjson"), ("part", "a.ndjson")), PACKED)
    other = write(tmp_path / "b.yaml", PART)
    found = read_manifests([path, other])
    assert found.batches[0].contents == (b"1\n", b"1\n")
    assert found.skipped == [f"{path}: ConfigMap packed is for a cluster: skipped"]
    there = read_manifests([write(tmp_path / "c.yaml", refs(("packed", "b.csv.gz"), namespace="shop"), PACKED)])
    assert there.batches[0].contents == (b"\x1f\x8b\x08",)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            refs(("part", "a.ndjson"), ("packed", "b.csv.gz")),
            (
                "spec.configMapRefs[1] (ConfigMap packed, key b.csv.gz): no such ConfigMap of namespace default in the "
                "files; give the file that has it, too"
            ),
        ),
        (
            refs(("part", "b.json")),
            "spec.configMapRefs[0] (ConfigMap part, key b.json): the ConfigMap in FILE has no such key",
        ),
        (
            refs(("part", "a.txt")),
            f"spec.configMapRefs[0].key: 'a.txt', must be a text of 1 to 253 characters that matches {KEY_PATTERN}",
        ),
    ],
)
def test_a_configmap_that_is_not_there_is_told(tmp_path: Path, document: object, told: str) -> None:
    path = write(tmp_path / "a.yaml", document, PART, PACKED)
    with pytest.raises(ManifestError) as caught:
        read_manifests([path])
    assert str(caught.value) == f"{path}: JobBatch default/x: {told}".replace("FILE", str(path))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("foo", "metadata: 'foo', must be a mapping with name, namespace"),
        ([1], "metadata: [1], must be a mapping with name, namespace"),
        (None, "metadata.name: missing, must be a text"),
        ({"name": 5}, "metadata.name: 5, must be a text"),
    ],
)
def test_a_configmap_without_a_name_is_told(tmp_path: Path, metadata: object, told: str) -> None:
    path = write(tmp_path / "a.yaml", BATCH, {**PART, "metadata": metadata})
    with pytest.raises(ManifestError) as caught:
        read_manifests([path])
    assert str(caught.value) == f"{path}: document 2: ConfigMap: {told}"


def test_other_kinds_are_skipped_with_a_note(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    path = write(tmp_path / "a.yaml", secret, BATCH)
    found = read_manifests([path])
    assert found.skipped == [f"{path}: Secret s is for a cluster: skipped"]
    assert len(found.batches) == 1


def test_what_yaml_spells_means_what_it_means_to_kubectl(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        f"{HEAD}spec: {{queue: q, suspend: on, batchSize: 1e2, metadata: {{date: 2024-01-15}}, "
        "generate: {count: 0o17, payload: {at: 12:30, y: 08}}}"
    )
    (found,) = read_manifests([path]).batches
    assert (found.spec.suspend, found.spec.batch_size, found.spec.metadata) == (True, 100, {"date": "2024-01-15"})
    assert found.spec.generate == GenerateSpec(count=15, payload={"at": "12:30", "true": 8})


SEEN = {
    "uid": "6f1c", "resourceVersion": "17", "generation": 2, "managedFields": [{"manager": "kubectl", "fieldsV1": {}}],
    "finalizers": ["hammerwork.io/batch-rows"],
}  # fmt: skip


def test_a_list_is_its_items_as_kubectl_prints_them(tmp_path: Path) -> None:
    found = {**BATCH, "metadata": {**SEEN, "name": "x", "namespace": "shop"}, "status": {"totalJobs": 3}}
    items = [found, {**POOL, "metadata": {**SEEN, "name": "p"}}, PART]
    printed = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
    bare = {key: value for key, value in BATCH.items() if key not in {"apiVersion", "kind"}}
    listed = {"apiVersion": BATCH["apiVersion"], "kind": "JobBatchList", "items": [bare]}
    path = write(tmp_path / "a.yaml", printed, listed)

    read = read_manifests([path])

    assert [(batch.namespace, batch.name) for batch in read.batches] == [("shop", "x"), ("default", "x")]
    assert [pool.name for pool in read.pools] == ["p"]
    assert read.skipped == [f"{path}: ConfigMap part is for a cluster: skipped"]


def a_list(*items: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (batch(batchSize=0), "JobBatch default/x: spec.batchSize: 0, must be 1 to 1000"),
        (
            batch(retryPolicy={"initialSeconds": 600}),
            (
                "JobBatch default/x: spec.retryPolicy: initialSeconds is 600, must not be above maxSeconds, which is "
                "300 (default: 300)"
            ),
        ),
        (
            batch(metadata={"a": "b", "note": "x" * 1_025}),
            (
                f"JobBatch default/x: spec.metadata.note: '{'x' * 58}… (1,025 characters), must be a text of at most "
                "1024 characters"
            ),
        ),
        (
            batch(metadata={f"k{n}": "v" for n in range(65)}),
            (
                "JobBatch default/x: spec.metadata: {'k0': 'v', 'k1': 'v', 'k2': 'v', 'k3': 'v', 'k4': 'v', 'k5… "
                "(65 entries), must be a mapping of at most 64 entries"
            ),
        ),
        (
            batch(generate={"payload": 1, "items": [123] * 10_001}),
            (
                f"JobBatch default/x: spec.generate.items: [{'123, ' * 11}123… (10,001 items), must be a list of 1 to "
                "10000 items"
            ),
        ),
        (batch(jobs=[{}]), "JobBatch default/x: spec.jobs[0].payload: missing, must be any value of JSON"),
        (
            pool(autoscaling={"maxReplicas": 2}),
            (
                "WorkerPool default/p: spec.autoscaling: none given, must be exactly one of targetJobsPerWorker and "
                "targetDrainSeconds"
            ),
        ),
        (
            pool(autoscaling={"minReplicas": 3, "maxReplicas": 2, "targetJobsPerWorker": 1}),
            "WorkerPool default/p: spec.autoscaling: minReplicas is 3, must not be above maxReplicas, which is 2",
        ),
        (
            pool(podDisruptionBudget={"minAvailable": 1, "maxUnavailable": 1}),
            (
                "WorkerPool default/p: spec.podDisruptionBudget: maxUnavailable and minAvailable given, must be "
                "exactly one of maxUnavailable and minAvailable"
            ),
        ),
        (pool(processes=0), "WorkerPool default/p: spec: processes is 0, must be auto or 1 to 256"),
        (pool(processes="many"), "WorkerPool default/p: spec: processes is 'many', must be auto or 1 to 256"),
        (
            {**BATCH, "metadata": {"name": "b" * 190}},
            (
                f"document 1: JobBatch: metadata.name: '{'b' * 58}… (190 characters), must be 1 to 189 small letters, "
                "digits, '-' or '.', with a letter or digit at both ends"
            ),
        ),
        ({**a_list(), "items": 5}, "document 1: items: 5, must be a list of objects"),
        (
            a_list(BATCH, a_list(BATCH)),
            "document 1: items[1]: List, must not have items: kubectl takes no List in a List",
        ),
        (a_list(BATCH, 5), "document 1: items[1]: '5', must be a mapping with apiVersion, kind and metadata"),
        (a_list({"spec": {}}), "document 1: items[0]: kind: missing"),
        (a_list(POOL, {**BATCH, "metadata": {}}), "document 1: items[1]: JobBatch: metadata.name: missing"),
        (batch(batchSize=1001), "JobBatch default/x: spec.batchSize: 1001, must be 1 to 1000"),
        (batch(batchSize="ten"), "JobBatch default/x: spec.batchSize: 'ten', must be a whole number, 1 to 1000"),
        (batch(suspend="no"), "JobBatch default/x: spec.suspend: 'no', must be true or false"),
        (
            batch(partialFailureMode="Never"),
            (
                "JobBatch default/x: spec.partialFailureMode: 'Never', must be ContinueOnError or FailFast or "
                "CollectErrors"
            ),
        ),
        (
            batch(generate={"count": 1, "payload": 1, "items": []}),
            "JobBatch default/x: spec.generate.items: [], must be a list of 1 to 10000 items",
        ),
        (
            batch(generate={"count": 1, "payload": 1, "range": 3}),
            "JobBatch default/x: spec.generate.range: unknown field, must be one of payload, count, items, matrix",
        ),
        (
            batch(jobs=[{"payload": 1}]),
            (
                "JobBatch default/x: spec: spec.jobs and spec.generate given, must be exactly one of "
                "spec.jobs, spec.generate, spec.configMapRefs and spec.query"
            ),
        ),
        (
            {**BATCH, "spec": {"queue": "q"}},
            (
                "JobBatch default/x: spec: none given, must be exactly one of "
                "spec.jobs, spec.generate, spec.configMapRefs and spec.query"
            ),
        ),
        (
            {**BATCH, "spec": {"queue": "q", "jobs": [{"payload": 1}, {"payload": 2, "priority": "Urgent"}]}},
            (
                "JobBatch default/x: spec.jobs[1].priority: 'Urgent', must be Background or Critical or High or Low or "
                "Normal"
            ),
        ),
        ({**BATCH, "spec": None}, "JobBatch default/x: spec: missing, must be a mapping"),
        (
            {**POOL, "spec": {"queue": "q"}},
            "WorkerPool default/p: spec.handler: missing, must be a mapping with python, exec, stream, http",
        ),
        (
            {**POOL, "spec": {"queue": "q", "handler": {}}},
            f"WorkerPool default/p: spec.handler: none given, must be exactly one of {KIND_NAMES}",
        ),
        (
            {**POOL, "spec": {"queue": "q", "handler": {"python": {"function": "a:b"}, "exec": {"command": ["true"]}}}},
            f"WorkerPool default/p: spec.handler: python and exec given, must be exactly one of {KIND_NAMES}",
        ),
        (
            {**POOL, "spec": {"queue": "q", "handler": {"exec": {"command": "true"}}}},
            "WorkerPool default/p: spec.handler.exec.command: 'true', must be a list of 1 to 100 items",
        ),
        (
            {**POOL, "spec": {"queue": "q", "handler": {"exec": {"command": ["true"], "failCodes": [0]}}}},
            "WorkerPool default/p: spec.handler.exec.failCodes[0]: 0, must be 1 to 255",
        ),
        (
            {**BATCH, "apiVersion": "hammerwork.io/v2"},
            "document 1: apiVersion: 'hammerwork.io/v2', must be hammerwork.io/v1alpha1",
        ),
        ({**BATCH, "kind": "Batch"}, "document 1: kind: 'Batch', must be JobBatch or WorkerPool"),
        ({**BATCH, "metadata": {}}, "document 1: JobBatch: metadata.name: missing"),
        (
            {**POOL, "metadata": {"name": 5}},
            (
                "document 1: WorkerPool: metadata.name: 5, must be 1 to 56 small letters, digits, '-' or '.', with a "
                "letter or digit at both ends"
            ),
        ),
        ({"kind": "JobBatch"}, "document 1: apiVersion: missing"),
        ("text", "document 1: 'text', must be a mapping with apiVersion, kind and metadata"),
        (
            {**BATCH, "metadata": {"name": "My_Batch"}},
            (
                "document 1: JobBatch: metadata.name: 'My_Batch', must be 1 to 189 small letters, digits, '-' or '.', "
                "with a letter or digit at both ends"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_object_field_value_and_limit(
    tmp_path: Path, document: object, message: str
) -> None:
    path = write(tmp_path / "batch.yaml", document)
    with pytest.raises(ManifestError) as caught:
        read_manifests([path])
    assert str(caught.value) == f"{path}: {message}"


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("kind: JobBatch\nspec: [1, 2\n")
    with pytest.raises(ManifestError, match=r"a\.yaml: line 3: not YAML: "):
        read_manifests([path])


def test_an_empty_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no \*\.yaml or \*\.yml file in this folder"):
        read_manifests([tmp_path])
    with pytest.raises(ManifestError, match=r"nothing\.yaml: no such file or folder"):
        read_manifests([tmp_path / "nothing.yaml"])


def test_one_name_for_two_batches_is_told(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.yaml", BATCH), write(tmp_path / "b.yaml", BATCH)
    with pytest.raises(ManifestError) as caught:
        read_manifests([tmp_path])
    assert str(caught.value) == (f"{second}: JobBatch default/x: is in {first} already; give one of them another name")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([POOL], "no JobBatch in the files that were given: there is nothing to run"),
        (
            [BATCH],
            (
                "JobBatch default/x: spec.queue: 'q', no WorkerPool in the files works on this queue "
                "(there is no WorkerPool at all), so its jobs would never run; add a WorkerPool for it"
            ),
        ),
        (
            [batch(queue="other"), POOL],
            (
                "JobBatch default/x: spec.queue: 'other', no WorkerPool in the files works on this queue "
                "(those that are there work on q), so its jobs would never run; add a WorkerPool for it"
            ),
        ),
        ([batch(suspend=True), POOL], "spec.suspend: true, so its jobs would never run; leave it out"),
    ],
)
def test_what_would_wait_for_ever_is_refused(tmp_path: Path, documents: list[object], message: str) -> None:
    manifests = read_manifests([write(tmp_path / "a.yaml", *documents)])
    with pytest.raises(ManifestError) as caught:
        check_runnable(manifests)
    assert str(caught.value).endswith(message)


def test_a_pool_gives_the_environment_that_its_template_sets_by_value(tmp_path: Path) -> None:
    containers = [
        {"name": "sidecar", "env": [{"name": "A", "value": "no"}]},
        {
            "name": "worker",
            "env": [{"name": "B", "value": "yes"}, {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s"}}}],
        },
    ]
    pool = {**POOL, "spec": {**POOL["spec"], "template": {"spec": {"containers": containers}}}}
    assert read_manifests([write(tmp_path / "a.yaml", pool)]).pools[0].environment() == {"B": "yes"}


NULLS = [{}, {"env": None}, {"name": "worker", "env": None, "image": 5}]


@pytest.mark.parametrize("template", [{"spec": None}, {"spec": {"containers": None}}, {"spec": {"containers": NULLS}}])
def test_a_template_may_have_nothing_for_the_environment(tmp_path: Path, template: object) -> None:
    pool = {**POOL, "spec": {**POOL["spec"], "template": template}}
    assert read_manifests([write(tmp_path / "a.yaml", pool)]).pools[0].environment() == {}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("foo", "spec.template.spec: 'foo', must be a mapping with containers"),
        ({"containers": 5}, "spec.template.spec.containers: 5, must be a list"),
        ({"containers": ["x"]}, "spec.template.spec.containers[0]: 'x', must be a mapping with name, env"),
        (
            {"containers": [{"name": "worker", "env": [True]}]},
            "spec.template.spec.containers[0].env[0]: true, must be a mapping with name, value",
        ),
        (
            {"containers": [{"name": "worker", "env": [{"value": "x"}]}]},
            "spec.template.spec.containers[0].env[0].name: missing, must be a text",
        ),
    ],
)
def test_a_template_with_something_else_is_told(tmp_path: Path, spec: object, told: str) -> None:
    path = write(tmp_path / "a.yaml", {**POOL, "spec": {**POOL["spec"], "template": {"spec": spec}}})
    with pytest.raises(ManifestError) as caught:
        read_manifests([path])
    assert str(caught.value) == f"{path}: WorkerPool default/p: {told}"


@pytest.mark.parametrize("folder", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_every_example_is_valid_and_runs_without_kubernetes(folder: str) -> None:
    manifests = read_manifests([EXAMPLES / folder])
    check_runnable(manifests)
