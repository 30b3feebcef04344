from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.adoption import may_be_adopted
from hammerwork_operator.workerpool.deployment import build_deployment
from hammerwork_operator.workerpool.facts import Facts, is_owned
from hammerwork_operator.workerpool.plan import OBSTACLE_SECONDS, SECRET_SECONDS, decide, rejected, unapplied
from tests.unit.operator.builders import pool

NO_SECRET = Obstacle(Reason.SECRET_NOT_FOUND, "none")
BAD_SPEC: dict[str, Any] = {"replicas": "many"}
BAD_TEMPLATE: dict[str, Any] = {"template": {"spec": {"containers": {}}}}


def test_the_deployment_is_applied_however_it_stands() -> None:
    facts = Facts(secret_version="s1")
    plan = decide(pool(), facts, default_image="worker:1", workers=1)
    assert plan.obstacle is None
    assert plan.deployment is not None
    template = plan.deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["hammerwork.io/database-secret-version"] == "s1"
    assert template["spec"]["containers"][0]["image"] == "worker:1"
    assert (
        decide(pool(), Facts(secret_version="s1", deployment={"any": 1}), default_image="worker:1", workers=1) == plan
    )
    assert plan.after == SECRET_SECONDS


@pytest.mark.parametrize(
    ("spec", "facts", "reason"),
    [
        (BAD_SPEC, Facts(), Reason.INVALID_SPEC),
        (BAD_SPEC, Facts(name_taken=True), Reason.INVALID_SPEC),
        ({}, Facts(name_taken=True), Reason.DEPLOYMENT_CONFLICT),
        ({}, Facts(obstacle=NO_SECRET), Reason.SECRET_NOT_FOUND),
        (BAD_TEMPLATE, Facts(obstacle=NO_SECRET), Reason.SECRET_NOT_FOUND),
        (BAD_TEMPLATE, Facts(), Reason.INVALID_SPEC),
    ],
)
def test_nothing_is_applied_while_something_is_in_the_way(spec: dict[str, Any], facts: Facts, reason: Reason) -> None:
    plan = decide(pool(spec), facts, default_image="worker:1", workers=1)
    assert plan.deployment is None
    assert plan.obstacle is not None
    assert plan.obstacle.reason == reason
    assert plan.after == OBSTACLE_SECONDS


def test_a_refusal_of_the_api_server_is_an_obstacle() -> None:
    assert rejected("exceeded quota").obstacle == Obstacle(Reason.DEPLOYMENT_REJECTED, "exceeded quota")
    assert unapplied("etcdserver: request timed out").obstacle == Obstacle(
        Reason.APPLY_FAILED, "applying the Deployment failed: etcdserver: request timed out", passing=True
    )


@pytest.mark.parametrize(
    ("status", "message", "refused"),
    [
        (500, "failed to create typed patch object (mail/p-worker; apps/v1, Kind=Deployment): .spec.x: unknown", True),
        (500, "failed to convert new object (mail/p-worker; apps/v1, Kind=Deployment) to proper version: lots", True),
        (500, "etcdserver: request timed out", False),
        (500, 'Internal error occurred: failed calling webhook "w.example": connection refused', False),
        (413, "Request entity too large: limit is 3145728", True),
        (422, "is invalid", True),
        (403, "denied the request", True),
        (429, "too many requests", False),
        (503, "apiserver is shutting down", False),
        (0, "cannot connect", False),
    ],
)
def test_what_the_api_server_refuses_is_told_from_what_may_pass(status: int, message: str, refused: bool) -> None:
    assert ApiError(status, message).refused is refused


@pytest.mark.parametrize(
    ("owners", "owned"),
    [
        (None, False),
        ([], False),
        ([{"uid": "uid-2", "controller": True}], True),
        ([{"uid": "uid-2"}], False),
        ([{"uid": "another", "controller": True}], False),
        ([{"uid": "another"}, {"uid": "uid-2", "controller": True}], True),
    ],
    ids=str,
)
def test_a_pool_owns_what_it_controls(owners: list[dict[str, Any]] | None, owned: bool) -> None:
    metadata = {} if owners is None else {"ownerReferences": owners}
    assert is_owned({"metadata": metadata}, pool()) is owned


def ownerless(labels: dict[str, str] | None = None, owners: object = None, **selector: str) -> dict[str, Any]:
    made = build_deployment(pool(), default_image="worker:1", secret_version="s1", workers=1)
    metadata = {**made["metadata"], "ownerReferences": owners or []}
    metadata["labels"] = metadata["labels"] if labels is None else labels
    made["spec"]["selector"]["matchLabels"].update(selector)
    return {"metadata": metadata, "spec": made["spec"]}


@pytest.mark.parametrize(
    ("found", "adopted"),
    [
        (ownerless(), True),
        (ownerless({"hammerwork.io/pool": "mailers", "app.kubernetes.io/managed-by": "hammerwork-operator"}), True),
        (ownerless({"hammerwork.io/pool": "others", "app.kubernetes.io/managed-by": "hammerwork-operator"}), False),
        (ownerless({"hammerwork.io/pool": "mailers", "app.kubernetes.io/managed-by": "Helm"}), False),
        (ownerless({}), False),
        (ownerless(owners=[{"uid": "another"}]), False),
        (ownerless(color="blue"), False),
    ],
)
def test_a_pool_adopts_what_was_made_for_a_pool_of_its_name(found: dict[str, Any], adopted: bool) -> None:
    assert may_be_adopted(found, pool()) is adopted
