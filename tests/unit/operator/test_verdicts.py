"""What Flux, Helm (kstatus) and Argo CD make of each situation, by their own code; docs/gitops.md has the table."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status as jobbatch_status
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.schedule import status as schedule_status
from hammerwork_operator.schedule.facts import Facts as ScheduleFacts
from hammerwork_operator.schedule.facts import Failure
from hammerwork_operator.schedule.plan import decide
from hammerwork_operator.workerpool import status as workerpool_status
from hammerwork_operator.workerpool.queue_status import Scaled
from tests.harness import verdicts
from tests.harness.manifests import API_VERSION
from tests.unit.operator import test_jobbatch_situations
from tests.unit.operator.builders import NOW, batch, manifest, pool, row
from tests.unit.operator.test_schedules import NOON, schedule
from tests.unit.operator.test_schedules import manifest as schedule_manifest
from tests.unit.operator.test_workerpool_status import LATE, QUOTA, deployment

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.observed import ObservedBatch
    from hammerwork_operator.schedule.observed import ObservedSchedule
    from tests.harness.manifests import Manifest

PAGE = Path(__file__).parents[3] / "docs" / "gitops.md"
UNSEEN = {"observedGeneration": -1}
DELETED: dict[str, Any] = {"deletionTimestamp": "2026-05-01T12:00:00Z"}


def a_batch(observed: ObservedBatch, facts: Facts) -> Manifest:
    return batch_with(jobbatch_status.compute(observed, facts, NOW))


def batch_with(status: dict[str, Any], **metadata: Any) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": "JobBatch", **manifest(**metadata), "status": status}


def a_pool(
    found: dict[str, Any] | None,
    obstacle: Obstacle | None = None,
    *,
    workers: int = 2,
    cause: Obstacle | None = None,
    **metadata: Any,
) -> Manifest:
    computed = workerpool_status.compute(pool(), found, obstacle, NOW, scaled=Scaled(workers=workers), cause=cause)
    return pool_with(computed, **metadata)


def pool_with(status: dict[str, Any], **metadata: Any) -> Manifest:
    named = {"namespace": "mail", "name": "mailers", "generation": 3, **metadata}
    return {"apiVersion": API_VERSION, "kind": "WorkerPool", "metadata": named, "spec": {}, "status": status}


def a_schedule(observed: ObservedSchedule, obstacle: Obstacle | None = None) -> Manifest:
    """Of a time at which a batch is due, and cannot be made if there is an obstacle."""
    failure = None if obstacle is None else Failure(generation=1, scheduled=NOON, obstacle=obstacle)
    facts = ScheduleFacts(failure=failure)
    return schedule_with(schedule_status.compute(observed, facts, decide(observed, facts, NOON).due, NOON))


def schedule_with(status: dict[str, Any], **metadata: Any) -> Manifest:
    found = schedule_manifest(**metadata)
    return {"apiVersion": API_VERSION, "kind": "JobBatchSchedule", **found, "status": status}


NO_SECRET = Obstacle(Reason.SECRET_NOT_FOUND, "Secret hammerwork-database does not exist")
NONE_WORK = deployment(availableReplicas=0, readyReplicas=0)
RUNNING = jobbatch_status.compute(batch(), Facts(row=row(batch())), NOW)
JOBBATCH = {
    "the operator has not seen it yet": [batch_with(UNSEEN)],
    "its spec has changed, and the operator has not seen that yet": [batch_with(RUNNING, generation=2)],
    **{
        situation: [a_batch(*case) for case in cases]
        for situation, cases in test_jobbatch_situations.SITUATIONS.items()
    },
    "being deleted": [batch_with(RUNNING, **DELETED)],
}
WORKERPOOL = {
    "the operator has not seen it yet": pool_with(UNSEEN),
    "all workers available": a_pool(deployment()),
    "no workers wanted": a_pool(
        deployment(replicas=0, updatedReplicas=0, availableReplicas=0, readyReplicas=0), workers=0
    ),
    "rolling out or scaling": a_pool(deployment(updatedReplicas=1)),
    "Pods cannot be created (quota, policy)": a_pool(deployment(conditions=[QUOTA])),
    "the rollout is stuck": a_pool(deployment(conditions=[LATE])),
    "Pods do not work, and that may pass": a_pool(
        NONE_WORK, cause=Obstacle(Reason.UNSCHEDULABLE, "no node has room", passing=True)
    ),
    "Pods do not work until somebody changes something": a_pool(
        NONE_WORK, cause=Obstacle(Reason.INVALID_IMAGE_NAME, "no such name")
    ),
    "Secret missing or unusable": a_pool(None, NO_SECRET),
    "the template is not accepted": a_pool(None, Obstacle(Reason.DEPLOYMENT_REJECTED, "no container")),
    "the API server does not apply the Deployment, for what may pass": a_pool(
        None, Obstacle(Reason.APPLY_FAILED, "webhook", passing=True)
    ),
    "another Deployment has the name": a_pool(None, Obstacle(Reason.DEPLOYMENT_CONFLICT, "taken")),
    "being deleted": a_pool(deployment(), **DELETED),
}
SCHEDULED = a_schedule(schedule())
JOBBATCHSCHEDULE = {
    "the operator has not seen it yet": [schedule_with(UNSEEN)],
    "in order": [SCHEDULED],
    "suspended": [a_schedule(schedule({"suspend": True}))],
    "the schedule, or its time zone, is none": [
        a_schedule(schedule({"schedule": "61 * * * *"})),
        a_schedule(schedule({"timeZone": "Local"})),
    ],
    "the API server refuses the batch, or its name is taken": [
        a_schedule(schedule(), Obstacle(reason, "no")) for reason in (Reason.FAILED_CREATE, Reason.NAME_CONFLICT)
    ],
    "creating the batch fails, for what may pass": [
        a_schedule(schedule(), Obstacle(Reason.FAILED_CREATE, "webhook", passing=True))
    ],
    "being deleted": [schedule_with(SCHEDULED["status"], **DELETED)],
}
SITUATIONS = {
    "JobBatch": JOBBATCH,
    "JobBatchSchedule": JOBBATCHSCHEDULE,
    "WorkerPool": {situation: [each] for situation, each in WORKERPOOL.items()},
}
"""The objects of each situation, which may be reached in several ways."""


def table(kind: str) -> dict[str, tuple[str, str]]:
    """Return what the page says: the verdicts of kstatus and of Argo CD by situation."""
    lines = PAGE.read_text().split(f"\n| {kind} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return {situation: (kstatus, argocd) for situation, kstatus, argocd in cells}


@cache
def said(kind: str) -> dict[str, set[tuple[str, str]]]:
    """Return what the tools say, by situation."""
    given = [(situation, each) for situation, objects in SITUATIONS[kind].items() for each in objects]
    objects = [each for _, each in given]
    of_argocd = (verdict.split(":")[0] for verdict in verdicts.argocd(objects))
    found: dict[str, set[tuple[str, str]]] = {}
    for (situation, _), *pair in zip(given, verdicts.kstatus(objects), of_argocd, strict=True):
        found.setdefault(situation, set()).add((pair[0], pair[1]))
    return found


@pytest.mark.parametrize("kind", SITUATIONS)
def test_the_page_has_each_situation(kind: str) -> None:
    assert table(kind).keys() == SITUATIONS[kind].keys()


@pytest.mark.parametrize(("kind", "situation"), [(kind, each) for kind, of in SITUATIONS.items() for each in of])
def test_the_tools_say_what_the_page_says(kind: str, situation: str) -> None:
    assert said(kind)[situation] == {table(kind)[situation]}


def test_argo_cd_shows_what_the_operator_says() -> None:
    (shown,) = verdicts.argocd([WORKERPOOL["Secret missing or unusable"]])
    assert shown == "Degraded: SecretNotFound: Secret hammerwork-database does not exist"
