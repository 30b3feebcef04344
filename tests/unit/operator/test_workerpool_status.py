from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.api.workerpool import WorkerPoolStatus
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool import status
from hammerwork_operator.workerpool.queue_status import Scaled
from tests.unit.operator.builders import NOW, pool

POOL = pool({"replicas": 2})
TWO = Scaled(workers=2)


def deployment(generation: int = 4, conditions: list[dict[str, Any]] | None = None, **counts: int) -> dict[str, Any]:
    found = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2, "observedGeneration": 4}
    return {"metadata": {"generation": generation}, "status": {**found, **counts, "conditions": conditions or []}}


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
QUOTA = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}


@pytest.mark.parametrize(
    ("found", "obstacle", "ready", "reconciling", "stalled"),
    [
        (deployment(), None, "True Available", "False", "False"),
        (None, None, "False Progressing", "True", "False"),
        (deployment(availableReplicas=1), None, "False Progressing", "True", "False"),
        (deployment(updatedReplicas=1), None, "False Progressing", "True", "False"),
        (deployment(replicas=3), None, "False Progressing", "True", "False"),
        (deployment(generation=5), None, "False Progressing", "True", "False"),
        (deployment(conditions=[LATE]), None, "False ProgressDeadlineExceeded", "False", "True"),
        (deployment(conditions=[QUOTA]), None, "False ReplicaFailure", "True", "False"),
        (deployment(), Obstacle(Reason.SECRET_NOT_FOUND, "none"), "False SecretNotFound", "False", "True"),
    ],
)
def test_conditions_follow_the_deployment(
    found: dict[str, Any] | None, obstacle: Obstacle | None, ready: str, reconciling: str, stalled: str
) -> None:
    computed = status.compute(POOL, found, obstacle, NOW, scaled=TWO)
    by_type = {entry["type"]: entry for entry in computed["conditions"]}
    assert f"{by_type['Ready']['status']} {by_type['Ready']['reason']}" == ready
    assert by_type["Reconciling"]["status"] == reconciling
    assert by_type["Stalled"]["status"] == stalled
    assert computed["observedGeneration"] == POOL.generation
    msgspec.convert(computed, WorkerPoolStatus)


def test_a_pool_of_none_is_ready() -> None:
    none = deployment(replicas=0, updatedReplicas=0, availableReplicas=0, readyReplicas=0)
    computed = status.compute(pool({"replicas": 0}), none, None, NOW, scaled=Scaled(workers=0))
    assert computed["conditions"][0]["reason"] == "Available"


def test_the_scale_subresource_finds_its_fields() -> None:
    computed = status.compute(POOL, deployment(replicas=2, readyReplicas=1), None, NOW, scaled=TWO)
    assert (computed["replicas"], computed["readyReplicas"]) == (2, 1)
    assert computed["selector"] == "app.kubernetes.io/instance=mailers,app.kubernetes.io/name=hammerwork-worker"


def test_equal_facts_give_an_equal_status_later() -> None:
    before = status.compute(POOL, deployment(), None, NOW, scaled=TWO)
    assert (
        status.compute(pool({"replicas": 2}, before), deployment(), None, NOW + timedelta(hours=1), scaled=TWO)
        == before
    )


def test_events_tell_of_changes_that_matter() -> None:
    story: list[tuple[str, bool]] = []
    before: dict[str, Any] = {}
    for found, obstacle in (
        (None, Obstacle(Reason.SECRET_NOT_FOUND, "none")),
        (None, Obstacle(Reason.SECRET_NOT_FOUND, "none")),
        (deployment(availableReplicas=0), None),
        (deployment(), None),
    ):
        after = status.compute(pool({"replicas": 2}, before), found, obstacle, NOW, scaled=TWO)
        story += [(note.reason, note.warning) for note in status.notes(before, after)]
        before = after
    assert story == [("SecretNotFound", True), ("Available", False)]
