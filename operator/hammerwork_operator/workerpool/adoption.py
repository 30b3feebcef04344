"""Whether a Deployment that nobody owns was made for a pool. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork_operator.api import names
from hammerwork_operator.workerpool.deployment import selector_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hammerwork_operator.workerpool.observed import ObservedPool


def may_be_adopted(deployment: Mapping[str, Any], pool: ObservedPool) -> bool:
    """Return whether the Deployment, or PodDisruptionBudget, has no owner and was made for a pool of this name.

    So it is after ``kubectl delete --cascade=orphan``, and where a backup was restored.
    """
    metadata = deployment["metadata"]
    made_for = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_POOL: pool.name}
    return (
        not metadata.get("ownerReferences")
        and made_for.items() <= (metadata.get("labels") or {}).items()
        and deployment["spec"].get("selector") == {"matchLabels": selector_labels(pool)}
    )
