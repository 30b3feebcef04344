"""What Flux, Helm (kstatus) and Argo CD make of each situation, by their own code; docs/gitops.md has the table."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import BatchState
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status as jobbatch_status
from hammerwork_operator.jobbatch.facts import Facts, Load
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool import status as workerpool_status
from hammerwork_operator.workerpool.queue_status import Scaled
from tests.harness import verdicts
from tests.harness.manifests import API_VERSION
from tests.unit.operator.builders import NOW, ago, batch, manifest, pool, row
from tests.unit.operator.test_workerpool_status import LATE, QUOTA, deployment

if TYPE_CHECKING:
    from tests.harness.manifests import Manifest

PAGE = Path(__file__).parents[3] / "docs" / "gitops.md"
BATCH = batch({"activeDeadlineSeconds": 5})
ENDED = ago(1)
UNSEEN = {"observedGeneration": -1}
DELETED: dict[str, Any] = {"deletionTimestamp": "2026-05-01T12:00:00Z"}
NO_SECRET = Obstacle(Reason.SECRET_NOT_FOUND, "Secret hammerwork-database does not exist")
REFUSED = Obstacle(Reason.DATABASE_REFUSED, "permission denied for schema public")
AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "the server does not answer", passing=True)


def a_batch(facts: Facts | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> Manifest:
    given = batch({"activeDeadlineSeconds": 5}, status, **metadata)
    found = status if facts is None else jobbatch_status.compute(given, facts, NOW)
    return {"apiVersion": API_VERSION, "kind": "JobBatch", **manifest(**metadata), "status": found}


def ended(state: BatchState, *, seconds_ago: float = 6, **counts: int) -> Facts:
    return Facts(row=row(BATCH, state, finished_at=ago(seconds_ago), **counts))


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


RUNNING = Facts(row=row(BATCH))
NONE_WORK = deployment(availableReplicas=0, readyReplicas=0)
JOBBATCH = {
    "the operator has not seen it yet": a_batch(status=UNSEEN),
    "its spec has changed, and the operator has not seen that yet": {
        **a_batch(RUNNING),
        "metadata": {**manifest()["metadata"], "generation": 2},
    },
    "loading the jobs": a_batch(Facts(load=Load(jobs=1))),
    "running": a_batch(RUNNING),
    "suspended": a_batch(Facts(row=row(BATCH, suspended=True))),
    "finished": a_batch(ended(BatchState.COMPLETED, completed_jobs=2)),
    "finished, some jobs have failed": a_batch(
        ended(BatchState.COMPLETED_WITH_ERRORS, completed_jobs=1, failed_jobs=1)
    ),
    "a job failed in FailFast": a_batch(ended(BatchState.FAILED, failed_jobs=1, cancelled_jobs=1)),
    "a job failed in FailFast, others still run": a_batch(
        Facts(row=row(BATCH, BatchState.FAILED, failed_jobs=1, running_jobs=1))
    ),
    "the deadline has passed": a_batch(ended(BatchState.CANCELLED, seconds_ago=1, cancelled_jobs=2)),
    "cancelled in the database": a_batch(ended(BatchState.CANCELLED, cancelled_jobs=2)),
    "the jobs cannot be stored": a_batch(Facts(load=Load(failure="unknown placeholder"))),
    "its rows are no longer in the database": a_batch(
        Facts(), jobbatch_status.compute(BATCH, RUNNING, NOW), generation=1
    ),
    "Secret missing or unusable": a_batch(Facts(obstacle=NO_SECRET)),
    "the id belongs to other jobs": a_batch(Facts(row=row(BATCH, fingerprint="other"))),
    "the database does not answer": a_batch(Facts(obstacle=AWAY)),
    "running, and the database does not answer": a_batch(
        Facts(obstacle=AWAY), jobbatch_status.compute(BATCH, RUNNING, NOW)
    ),
    "the database refuses": a_batch(Facts(obstacle=REFUSED)),
    "running, and the Secret is gone": a_batch(Facts(obstacle=NO_SECRET), jobbatch_status.compute(BATCH, RUNNING, NOW)),
    "suspended, and the database does not answer": a_batch(
        Facts(obstacle=AWAY), jobbatch_status.compute(BATCH, Facts(row=row(BATCH, suspended=True)), NOW)
    ),
    "being deleted": a_batch(RUNNING, **DELETED),
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
SITUATIONS = {"JobBatch": JOBBATCH, "WorkerPool": WORKERPOOL}


def table(kind: str) -> dict[str, tuple[str, str]]:
    """Return what the page says: the verdicts of kstatus and of Argo CD by situation."""
    lines = PAGE.read_text().split(f"\n| {kind} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return {situation: (kstatus, argocd) for situation, kstatus, argocd in cells}


@cache
def said(kind: str) -> dict[str, tuple[str, str]]:
    """Return what the tools say, by situation."""
    objects = SITUATIONS[kind]
    of_argocd = (verdict.split(":")[0] for verdict in verdicts.argocd(objects.values()))
    return dict(zip(objects, zip(verdicts.kstatus(objects.values()), of_argocd, strict=True), strict=True))


@pytest.mark.parametrize("kind", SITUATIONS)
def test_the_page_has_each_situation(kind: str) -> None:
    assert table(kind).keys() == SITUATIONS[kind].keys()


@pytest.mark.parametrize(("kind", "situation"), [(kind, each) for kind, of in SITUATIONS.items() for each in of])
def test_the_tools_say_what_the_page_says(kind: str, situation: str) -> None:
    assert said(kind)[situation] == table(kind)[situation]


def test_argo_cd_shows_what_the_operator_says() -> None:
    (shown,) = verdicts.argocd([JOBBATCH["Secret missing or unusable"]])
    assert shown == "Degraded: SecretNotFound: Secret hammerwork-database does not exist"
