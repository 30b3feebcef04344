"""Builds the PodDisruptionBudget of a WorkerPool. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from hammerwork_operator.workerpool.deployment import metadata, selector_labels

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.workerpool.observed import ObservedPool


def build_budget(pool: ObservedPool) -> Manifest | None:
    """Return the manifest to apply; None where the pool has no budget."""
    given = pool.spec.pod_disruption_budget
    if given is UNSET:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(pool),
        "spec": {
            **msgspec.to_builtins(given),
            "selector": {"matchLabels": selector_labels(pool)},
            # Workers that do not work hold up no drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
