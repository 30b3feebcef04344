"""Whether anybody works on the queue of a JobBatch: by the pools, and what the status says of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import BatchState
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.pools import ServingPools
from hammerwork_operator.kube.situation import Obstacle
from tests.unit.operator.builders import NOW, ago, batch, condition, row

BATCH = batch()
AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True)


def pool(name: str = "mailers", uid: str = "uid-1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "mail", "name": name, "uid": uid}, "spec": {"queue": "email", **spec}}


@pytest.mark.parametrize(
    ("spec", "serves"),
    [
        ({}, True),
        ({"replicas": 2}, True),
        ({"replicas": 0}, False),
        ({"replicas": 0, "autoscaling": {"maxReplicas": 3}}, True),
        ({"queue": "other"}, False),
    ],
)
def test_a_pool_serves_if_jobs_get_workers(spec: dict[str, Any], serves: bool) -> None:
    pools = ServingPools()
    assert pools.serve("mail", "email") is None, "not listed yet"
    pools.listed()
    pools.seen(pool(**spec), deleted=False)
    assert pools.serve("mail", "email") is serves
    assert pools.serve("other", "email") is False
    pools.seen(pool(**spec), deleted=True)
    assert pools.serve("mail", "email") is False


def test_a_pool_that_is_being_deleted_serves_nobody() -> None:
    pools = ServingPools()
    pools.listed()
    leaving = pool()
    leaving["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    assert pools.seen(pool(), deleted=False) == {("mail", "email")}
    assert pools.seen(leaving, deleted=False) == {("mail", "email")}
    assert pools.serve("mail", "email") is False


def test_the_end_of_a_pool_that_was_replaced_is_not_that_of_the_other() -> None:
    pools = ServingPools()
    pools.listed()
    pools.seen(pool(), deleted=False)
    pools.seen(pool(uid="uid-2"), deleted=False)
    assert pools.seen(pool(), deleted=True) == set()
    assert pools.serve("mail", "email") is True
    assert pools.seen(pool(uid="uid-2"), deleted=True) == {("mail", "email")}
    assert pools.serve("mail", "email") is False


STORY = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"]), st.integers(0, 1), st.booleans()), max_size=20
)


@given(STORY)
def test_several_pools_may_serve_one_queue(story: list[tuple[str, str, int, bool]]) -> None:
    pools, there = ServingPools(), dict[str, str]()
    pools.listed()
    for name, queue, replicas, deleted in story:
        before = set(there.values())
        changed = pools.seen(pool(name, queue=queue, replicas=replicas), deleted=deleted)
        there.pop(name, None)
        if replicas and not deleted:
            there[name] = queue
        assert {each for each in "xy" if pools.serve("mail", each)} == set(there.values())
        assert {queue for _, queue in changed} >= before ^ set(there.values())


def served(of: Facts, before: dict[str, Any] | None = None) -> str:
    return condition(status.compute(batch(status=before), of, NOW), "Served")


def test_the_condition_appears_when_nobody_serves_and_stays_until_the_end() -> None:
    running = row(BATCH)
    assert served(Facts(row=running, served=True)) == "-"
    alone = status.compute(BATCH, Facts(row=running, served=False), NOW)
    assert condition(alone, "Served") == "False NoWorkerPool"
    assert condition(alone, "Ready") == "True Running"
    assert served(Facts(row=running), alone) == "False NoWorkerPool", "not known, as after a restart"
    again = status.compute(batch(status=alone), Facts(row=running, served=True), NOW)
    assert condition(again, "Served") == "True Served"
    assert served(Facts(row=running), again) == "True Served"
    assert served(Facts(row=row(BATCH, suspended=True)), again) == "-"
    assert served(Facts(obstacle=AWAY), again) == "-"
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ago(1))
    assert served(Facts(row=done), alone) == "-"
