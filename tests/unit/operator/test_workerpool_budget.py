from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.workerpool.budget import build_budget
from hammerwork_operator.workerpool.budgets import DisruptionBudgets
from hammerwork_operator.workerpool.deployment import build_deployment
from tests.unit.operator.builders import pool


def test_a_pool_without_budget_has_none() -> None:
    assert build_budget(pool()) is None


@pytest.mark.parametrize("given", [{"maxUnavailable": 1}, {"minAvailable": "50%"}, {"maxUnavailable": 0}])
def test_the_budget_is_for_the_pods_of_the_deployment(given: dict[str, Any]) -> None:
    of = pool({"podDisruptionBudget": given})
    budget, deployment = build_budget(of), build_deployment(of, default_image="w:1", secret_version="s", workers=1)
    assert budget is not None
    assert budget["spec"] == {
        **given,
        "selector": deployment["spec"]["selector"],
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert budget["metadata"] == deployment["metadata"]


class OneBudgetServer(ApiServer):
    """Has one PodDisruptionBudget, and keeps what is applied."""

    def __init__(self, budget: dict[str, Any] | None) -> None:
        self.budget = budget
        self.applied: list[dict[str, Any]] = []

    async def get_disruption_budget(self, namespace: str, name: str) -> dict[str, Any] | None:  # noqa: ARG002
        return self.budget

    async def apply_disruption_budget(self, manifest: dict[str, Any]) -> None:
        self.applied.append(manifest)


async def test_a_budget_of_somebody_else_is_left_alone() -> None:
    """With the pool as its owner, it would go with the pool."""
    of = pool({"podDisruptionBudget": {"maxUnavailable": 1}})
    ours = build_budget(of)
    assert ours is not None
    orphan = {**ours, "metadata": {**ours["metadata"], "ownerReferences": []}}
    for there in (None, ours, orphan):
        server = OneBudgetServer(there)
        await DisruptionBudgets(server).bring(of)
        assert server.applied == [ours]
    server = OneBudgetServer({"metadata": {"name": "mailers-worker"}, "spec": {"minAvailable": 1}})
    with pytest.raises(
        ApiError, match="PodDisruptionBudget mailers-worker: there is one that is not the pool's"
    ) as told:
        await DisruptionBudgets(server).bring(of)
    assert told.value.refused
    assert server.applied == []
