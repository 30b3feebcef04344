"""The table of situations in docs/kubernetes-api.md and what the operator writes are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from hammerwork import BatchState
from hammerwork_operator.api.common import MAX_OBJECT_BYTES
from hammerwork_operator.api.jobbatch import JobBatchStatus
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.dependencies import Dependencies
from hammerwork_operator.jobbatch.facts import Facts, Load
from hammerwork_operator.jobbatch.observed import observe
from hammerwork_operator.jobbatch.plan import QUERY_NOT_ALLOWED
from hammerwork_operator.kube.situation import Obstacle
from tests.unit.operator.builders import NOW, ago, batch, condition, kstatus, manifest, row

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.observed import ObservedBatch

API = (Path(__file__).parents[3] / "docs" / "kubernetes-api.md").read_text()

BATCH = batch()
ENDED = ago(1)
LIMITED = batch({"activeDeadlineSeconds": 5})
LARGE = observe(manifest(finalizers=[], annotations={"note": "x" * MAX_OBJECT_BYTES}))
DEEP = batch({"jobs": [json.loads('{"payload":' * 504 + "1" + "}" * 504)]})
LOADED = batch(status=status.compute(BATCH, Facts(row=row(BATCH)), NOW))

WITH_ERRORS = row(BATCH, BatchState.COMPLETED_WITH_ERRORS, completed_jobs=1, failed_jobs=1, finished_at=ENDED)
FINISHED = batch(status=status.compute(BATCH, Facts(row=WITH_ERRORS), NOW))


class Row(NamedTuple):
    """One line of the table."""

    ready: str
    reasons: frozenset[str]
    reconciling: str
    stalled: str
    others: dict[str, str]


def table() -> dict[str, Row]:
    """Return the lines of the table by their situation."""
    lines = API.split("| situation | Ready | Reconciling | Stalled | other conditions |\n")[1].split("\n\n")[0]
    found = {}
    for line in lines.splitlines()[1:]:
        situation, ready, reconciling, stalled, others = (cell.strip() for cell in line.strip("|").split("|"))
        found[situation] = Row(
            ready.split()[0],
            frozenset(re.findall(r"`(\w+)`", ready)),
            reconciling,
            stalled,
            dict(entry.split("=") for entry in re.findall(r"\w+=\w+", others)),
        )
    return found


TABLE = table()


QUERY = {"jobs": None, "query": {"sql": "SELECT 1"}}
IN_CONFIG_MAPS = batch({"jobs": None, "configMapRefs": [{"name": "part", "key": "a.csv"}]})


def passing(reason: Reason) -> Facts:
    return Facts(obstacle=Obstacle(reason, "none", passing=True))


def lasting(reason: Reason) -> Facts:
    return Facts(obstacle=Obstacle(reason, "none"))


def dependent(reason: Reason) -> Facts:
    return Facts(dependencies=Dependencies(reason=reason, message="another batch", recorded=False))


SITUATIONS: dict[str, list[tuple[ObservedBatch, Facts]]] = {
    "it waits for other JobBatches": [(BATCH, dependent(Reason.DEPENDENCY_NOT_READY))],
    "a JobBatch that it depends on has failed": [(BATCH, dependent(Reason.DEPENDENCY_FAILED))],
    "it depends on itself, by way of others or not": [(BATCH, dependent(Reason.DEPENDENCY_CYCLE))],
    "loading the jobs, or waiting for other batches (see the message)": [
        (BATCH, Facts(load=Load(jobs=1))),
        (BATCH, Facts(load=Load(waits="waits for another query"))),
        (BATCH, Facts(row=row(BATCH, BatchState.LOADING))),
        (BATCH, Facts(met=Obstacle(Reason.DATABASE_REFUSED, "none"), load=Load(jobs=1))),
        (BATCH, Facts(met=Obstacle(Reason.DATABASE_REFUSED, "none"), load=Load(waits="waits for another query"))),
    ],
    "loaded": [(BATCH, Facts(row=row(BATCH))), (BATCH, Facts(row=row(BATCH, BatchState.PENDING)))],
    "loaded, and nobody works on its queue": [(BATCH, Facts(row=row(BATCH), served=False))],
    "suspended": [(BATCH, Facts(row=row(BATCH, suspended=True)))],
    "finished, each job completed": [
        (BATCH, Facts(row=row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ENDED)))
    ],
    "finished, with failed jobs": [
        (BATCH, Facts(row=WITH_ERRORS)),
    ],
    "failed jobs run again": [(FINISHED, Facts(row=row(BATCH, completed_jobs=1, retried_at=ago(0))))],
    "a job failed in FailFast": [
        (BATCH, Facts(row=row(BATCH, BatchState.FAILED, failed_jobs=1, cancelled_jobs=1, finished_at=ENDED))),
        (BATCH, Facts(row=row(BATCH, BatchState.FAILED, failed_jobs=1, running_jobs=1))),
    ],
    "the deadline has passed": [
        (LIMITED, Facts(row=row(LIMITED, BatchState.CANCELLED, cancelled_jobs=2, finished_at=ago(4))))
    ],
    "cancelled in the database": [
        (BATCH, Facts(row=row(BATCH, BatchState.CANCELLED, cancelled_jobs=2, finished_at=ENDED))),
        (LIMITED, Facts(row=row(LIMITED, BatchState.CANCELLED, cancelled_jobs=2, finished_at=ago(8)))),
    ],
    "ConfigMaps of the jobs missing or unusable": [
        (IN_CONFIG_MAPS, lasting(reason))
        for reason in (Reason.CONFIG_MAP_NOT_FOUND, Reason.CONFIG_MAP_KEY_NOT_FOUND, Reason.CONFIG_MAP_FORBIDDEN)
    ],
    "a query where the operator allows none": [(batch(QUERY), Facts(obstacle=QUERY_NOT_ALLOWED))],
    "the jobs cannot be stored": [(BATCH, Facts(load=Load(failure="bad")))],
    "the object is too large or nested too deep": [(LARGE, Facts()), (DEEP, Facts())],
    "its rows are no longer in the database": [(LOADED, Facts())],
    "Secret missing or unusable": [
        (BATCH, lasting(reason))
        for reason in (
            Reason.SECRET_NOT_FOUND,
            Reason.SECRET_KEY_NOT_FOUND,
            Reason.SECRET_FORBIDDEN,
            Reason.INVALID_DATABASE_URL,
            Reason.DATABASE_FORBIDDEN,
        )
    ],
    "the id belongs to other jobs": [(BATCH, Facts(row=row(BATCH, fingerprint="other")))],
    "the database does not answer": [(BATCH, passing(Reason.DATABASE_UNAVAILABLE))],
    "the database refuses (a right, a schema, a password, an option, a certificate), or needs a newer operator": [
        (BATCH, lasting(Reason.DATABASE_REFUSED)),
        (BATCH, Facts(met=Obstacle(Reason.DATABASE_REFUSED, "none"), load=Load())),
    ],
}
"""What the operator knows in each situation; a situation may be reached in several ways."""

ONLY_WHERE_SAID = ("Served", "Suspended", "Complete", "Failed", "Succeeded")


def test_each_situation_has_a_line_and_each_line_a_test() -> None:
    assert list(SITUATIONS) == list(TABLE)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_conditions_are_those_of_the_table(situation: str) -> None:
    line = TABLE[situation]
    told = [status.compute(observed, facts, NOW) for observed, facts in SITUATIONS[situation]]
    assert {condition(each, "Ready").split()[1] for each in told} == line.reasons
    for each in told:
        shown = {entry["type"]: entry["status"] for entry in each["conditions"]}
        assert (shown["Ready"], shown["Reconciling"], shown["Stalled"]) == (line.ready, line.reconciling, line.stalled)
        assert {kind: shown.get(kind) for kind in line.others} == line.others
        assert [kind for kind in ONLY_WHERE_SAID if kind in shown and kind not in line.others] == []
        assert kstatus(each) == verdict(line)
        msgspec.convert(each, JobBatchStatus)


def verdict(line: Row) -> str:
    """Return what kstatus makes of the line."""
    failed: dict[Any, str] = {"True": "Failed"}
    return failed.get(line.stalled, "InProgress" if line.reconciling == "True" else "Current")
