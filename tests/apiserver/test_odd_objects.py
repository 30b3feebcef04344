"""One object, however odd, stops nobody but itself: it is told what is wrong, it can be deleted, the others go on."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING

from hammerwork_operator.api.common import MAX_OBJECT_BYTES, MAX_STORED_BYTES
from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

THREE = [{"payload": n} for n in range(3)]
HOLE = "in place of what is nested"
LISTED_LEVELS, WATCHED_LEVELS = 985, 3_000
"""Near Python's own limit of recursion, and far beyond; the API server takes ten thousand, slowly."""


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def loaded(found: Manifest) -> bool:
    return condition(found, "Enqueued") == "True Enqueued"


def create_nested(kubectl: Kubectl, levels: int, *manifests: Manifest) -> None:
    """Create objects with so many levels in place of `HOLE`; what writes JSON in Python cannot nest so deep."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    text = text.replace(json.dumps(HOLE), '{"a":' * levels + "1" + "}" * levels)
    kubectl("create", "--filename", "-", stdin=text)


def stalled(kubectl: Kubectl, kind: str, names: list[str]) -> list[str]:
    """Return of each object what its condition Stalled says, without reading the object itself."""
    template = '-o=jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Stalled")].reason}: '
    template += '{.status.conditions[?(@.type=="Stalled")].message}{"\\n"}{end}'
    said = dict(line.split("=", 1) for line in kubectl("get", kind, template).splitlines())
    return [f"{name}: {said[name]}" for name in names]


async def test_an_object_nested_deeper_than_anybody_reads_stops_none_but_itself(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, with_database: str
) -> None:
    """Seen by the list of a start and by the watch, with managed fields as deep as itself."""
    batches, pools = [], []

    def create(when: str, levels: int) -> None:
        batches.extend([f"{when}-jobs", f"{when}-template"])
        pools.append(when)
        create_nested(
            kubectl,
            levels,
            jobbatch(f"{when}-jobs", jobs=[{"payload": HOLE}]),
            jobbatch(f"{when}-template", generate={"count": 2, "payload": HOLE}),
            workerpool(when, template={"spec": {"odd": HOLE}}),
        )

    create("listed", LISTED_LEVELS)
    stopped_operator.start()
    create("watched", WATCHED_LEVELS)
    for kind, names in (("jobbatch", batches), ("workerpool", pools)):
        await eventually(
            functools.partial(asyncio.to_thread, stalled, kubectl, kind, names),
            lambda seen: all("InvalidSpec: spec: arrays and objects are nested more" in each for each in seen),
            within=60,
            every=0.5,
            tell="; ".join,
        )
    kubectl.create(jobbatch("healthy", jobs=THREE))
    await kubectl.wait("jobbatch", "healthy", running)
    kubectl("delete", "jobbatches,workerpools", "--all", "--timeout=30s")
    assert with_database


def odd_batches() -> list[Manifest]:
    """Return batches that are taken, though no one should write such."""
    batches = {
        "texts": jobbatch("texts", jobs=[{"payload": {"\u0000\u2028\ud800": "\udfff\u0000\u2029\ufeff\x1b[31m"}}]),
        "numbers": jobbatch("numbers", jobs=[{"payload": [1e308, -0.0, 5e-324, 2**63 - 1, -(2**63), 10**30]}]),
        "long": jobbatch("long", jobs=[{"payload": "x" * 1_000_000}]),
        "wide": jobbatch("wide", jobs=[{"payload": {f"k{n}": None for n in range(30_000)}}]),
        "n" * 189: jobbatch("n" * 189, jobs=THREE),
        "annotated": jobbatch("annotated", jobs=THREE),
        "owned": jobbatch("owned", jobs=THREE, suspend=True),
    }
    batches["annotated"]["metadata"] |= {
        "annotations": {f"example.com/a{n}": "\u2028" * 10 for n in range(2_000)},
        "labels": {f"example.com/l{n}": "x" * 63 for n in range(2_000)},
    }
    batches["owned"]["metadata"]["finalizers"] = ["example.com/never"]
    return list(batches.values())


ODD_TIMES = ("9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
"""The API server takes them; Python cannot reckon with them."""


def odd_status(moment: str) -> Manifest:
    """Return a status of a batch that has finished, as someone with the right to write it may do by hand."""
    conditions = [
        {"type": kind, "status": status, "reason": "Odd", "message": "", "lastTransitionTime": moment}
        for kind, status in (("Complete", "True"), ("Enqueued", "True"), ("Suspended", "False"), ("Ready", "Unknown"))
    ]
    return {"conditions": conditions, "completionTime": moment, "startTime": moment, "totalJobs": None, "errors": []}


def odd_workers(kubectl: Kubectl) -> None:
    """Create Pods and Deployments with the operator's labels, which anybody may give."""
    ours = {"app.kubernetes.io/managed-by": "hammerwork-operator"}
    container = {"name": "worker", "image": "x"}
    ended = {"state": {"terminated": {"exitCode": -5}}, "lastState": {"waiting": {}}, "restartCount": 2**31 - 1}
    worker = {"name": "worker", "image": "", "imageID": "", "ready": False, **ended}
    statuses = [{"phase": "Running", "containerStatuses": [worker]}, {"containerStatuses": [{**worker, "name": ""}]}]
    for number, pool in enumerate(({}, {"hammerwork.io/pool": ""}, {"hammerwork.io/pool": "odd"})):
        name = f"odd-{number}"
        annotations = {"controller.kubernetes.io/pod-deletion-cost": "1", "x": "y" * 200_000}
        metadata = {"name": name, "labels": ours | pool, "annotations": annotations}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
        deployed = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        kubectl.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployed},
        )
        for status in statuses:
            patch = json.dumps({"status": status})
            kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "--patch", patch)
    kubectl("delete", "pods", "--all", "--grace-period=0", "--force")


async def test_odd_objects_and_statuses_end_in_the_right_state(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, with_database: str
) -> None:
    batches = odd_batches()
    finished = [jobbatch(f"odd-{n}", jobs=THREE, ttlSecondsAfterFinished=2**31 - 1) for n in range(len(ODD_TIMES))]
    kubectl.apply(*batches, *finished, workerpool("odd", replicas=0))
    stopped_operator.start()
    odd_workers(kubectl)
    for manifest in (*batches, *finished):
        await kubectl.wait("jobbatch", manifest["metadata"]["name"], loaded)
    uid = kubectl.get("jobbatch", "owned")["metadata"]["uid"]
    owner = {"apiVersion": "hammerwork.io/v1alpha1", "kind": "JobBatch", "name": "owned", "uid": uid}
    kubectl.patch("jobbatch", "owned", {"metadata": {"ownerReferences": [owner]}})
    for manifest, moment in zip(finished, ODD_TIMES, strict=True):
        patch = json.dumps({"status": odd_status(moment)})
        name = manifest["metadata"]["name"]
        kubectl("patch", "jobbatch", name, "--subresource=status", "--type=merge", "--patch", patch)
        found = await kubectl.wait("jobbatch", name, running)
        assert condition(found, "Complete") in {"-", "False Running"}
        assert found["status"]["totalJobs"] == 3
    kubectl("delete", "jobbatches", "--all", "--wait=false")
    left = await kubectl.wait(
        "jobbatch", "owned", lambda found: found["metadata"].get("finalizers") == ["example.com/never"]
    )
    assert left["metadata"]["deletionTimestamp"]
    kubectl.patch("jobbatch", "owned", {"metadata": {"finalizers": None}})
    for manifest in (*batches, *finished):
        await kubectl.wait_gone("jobbatch", manifest["metadata"]["name"])
    assert with_database


def of_size(name: str, stored: int) -> Manifest:
    """Return a batch that takes somewhat more than so many bytes."""
    return jobbatch(name, jobs=[{"payload": "x" * (stored // 2)}] * 2)


async def test_an_object_without_room_for_a_status_is_told_of_and_can_be_deleted(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    kubectl.create(of_size("large", MAX_OBJECT_BYTES))
    found = await kubectl.wait("jobbatch", "large", lambda found: condition(found, "Stalled") == "True TooLarge")
    assert f"the limit is {MAX_OBJECT_BYTES:,}" in json.dumps(found["status"])
    assert "finalizers" not in found["metadata"]
    largest = next(size for size in range(MAX_STORED_BYTES - 400, 0, -200) if is_taken(kubectl, of_size("full", size)))
    assert largest > MAX_STORED_BYTES - 2_000
    await kubectl.wait_events("full", "Warning TooLarge")
    kubectl("delete", "jobbatch", "large", "full", "--timeout=50s")
    kubectl.create(of_size("fits", MAX_OBJECT_BYTES - 2_000))
    await kubectl.wait("jobbatch", "fits", loaded)
    kubectl.delete("jobbatch", "fits")
    assert operator.running()
    assert with_database


def is_taken(kubectl: Kubectl, manifest: Manifest) -> bool:
    try:
        kubectl.create(manifest)
    except CommandError as error:
        if "request is too large" not in error.said:
            raise
        return False
    return True
