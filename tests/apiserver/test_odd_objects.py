"""One object, however odd, stops nobody but itself: it is told what is wrong, it can be deleted, the others go on."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING

from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

THREE = [{"payload": n} for n in range(3)]
HOLE = "in place of what is nested"
DEPTHS = (985, 9_900)
"""Near Python's own limit of recursion, and near the API server's for JSON."""


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


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

    def create(when: str) -> None:
        for levels in DEPTHS:
            batches.extend([f"{when}-jobs-{levels}", f"{when}-template-{levels}"])
            pools.append(f"{when}-{levels}")
            create_nested(
                kubectl,
                levels,
                jobbatch(batches[-2], jobs=[{"payload": HOLE}]),
                jobbatch(batches[-1], generate={"count": 2, "payload": HOLE}),
                workerpool(pools[-1], template={"spec": {"odd": HOLE}}),
            )

    create("listed")
    stopped_operator.start()
    create("watched")
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
