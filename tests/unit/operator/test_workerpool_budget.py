from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.workerpool.budget import build_budget
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
