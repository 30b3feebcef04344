from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.facts import Facts, is_owned
from hammerwork_operator.workerpool.plan import OBSTACLE_SECONDS, SECRET_SECONDS, decide, rejected
from tests.unit.operator.builders import pool

NO_SECRET = Obstacle(Reason.SECRET_NOT_FOUND, "none")
BAD_SPEC: dict[str, Any] = {"replicas": "many"}
BAD_TEMPLATE: dict[str, Any] = {"template": {"spec": {"containers": {}}}}


def test_the_deployment_is_applied_however_it_stands() -> None:
    facts = Facts(secret_version="s1")
    plan = decide(pool(), facts, default_image="worker:1")
    assert plan.obstacle is None
    assert plan.deployment is not None
    template = plan.deployment["spec"]["template"]
    assert template["metadata"]["annotations"] == {"hammerwork.io/database-secret-version": "s1"}
    assert template["spec"]["containers"][0]["image"] == "worker:1"
    assert decide(pool(), Facts(secret_version="s1", deployment={"any": 1}), default_image="worker:1") == plan
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
    plan = decide(pool(spec), facts, default_image="worker:1")
    assert plan.deployment is None
    assert plan.obstacle is not None
    assert plan.obstacle.reason == reason
    assert plan.after == OBSTACLE_SECONDS


def test_a_refusal_of_the_api_server_is_an_obstacle() -> None:
    assert rejected("exceeded quota").obstacle == Obstacle(Reason.DEPLOYMENT_REJECTED, "exceeded quota")


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
