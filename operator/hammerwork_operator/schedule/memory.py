"""What this process keeps of one JobBatchSchedule; the next process starts without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from hammerwork_operator.api.reasons import Reason
    from hammerwork_operator.schedule.facts import Child, Failure
    from hammerwork_operator.schedule.observed import ObservedSchedule


@dataclass
class Memory:
    """Of the object as it was seen last."""

    observed: ObservedSchedule
    doubted: bool = False
    """The watch has brought an older version of the object: it is to be read."""
    children: dict[str, Child] = field(default_factory=dict)
    """Its batches by uid, as the watch or the last list had them."""
    wake: datetime | None = None
    """When something has to be decided next."""
    made: datetime | None = None
    failure: Failure | None = None
    told: dict[Reason, datetime] = field(default_factory=dict)
    """The scheduled time that each event was told for last."""
    deleted: set[str] = field(default_factory=set)
    """Uids of the batches that were deleted and may still be there."""
