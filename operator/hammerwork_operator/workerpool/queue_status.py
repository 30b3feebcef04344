"""What a pool's status says of its queue and of the number of workers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork.reports import percentage
from hammerwork_operator.kube.conditions import ConditionDict
from hammerwork_operator.kube.situation import Obstacle, Status

if TYPE_CHECKING:
    from hammerwork import QueueActivity, QueueDepth

FIELDS = frozenset({"queueDepth", "oldestJobAgeSeconds", "jobsProcessed", "successRate", "averageProcessingTimeMs"})
"""These change all the time while jobs run: they alone are written less often."""


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers a pool is to have, and what its status says of that and of its queue."""

    workers: int
    conditions: list[ConditionDict] = []
    """ScalingActive, and perhaps ScalingLimited."""
    cause: str = ""
    """Why the number changes."""
    fields: Status = {}
    """`FIELDS`, as far as they are known."""
    scaled_at: str | None = None
    """When autoscaling changed the number last."""
    obstacle: Obstacle | None = None
    """What keeps the operator from the pool's database, and its workers too, as a rule."""

    def stated(self) -> Status:
        """Return the fields of the status."""
        time = {} if self.scaled_at is None else {"lastScaleTime": self.scaled_at}
        return {"desiredReplicas": self.workers, **time, **self.fields}


def queue_fields(depth: QueueDepth | None, activity: QueueActivity | None) -> Status:
    """Return the fields that are known; none without a depth, as the database is away then."""
    if depth is None:
        return {}
    fields: Status = {"queueDepth": depth.ready}
    if depth.oldest_ready_seconds is not None:
        fields["oldestJobAgeSeconds"] = two_digits(depth.oldest_ready_seconds)
    fields["jobsProcessed"] = activity.total_processed if activity is not None else 0
    if activity is not None and activity.total_processed:
        successful = activity.total_processed - activity.failed
        fields["successRate"] = percentage(successful, activity.total_processed, digits=1)
        fields["averageProcessingTimeMs"] = round(activity.average_processing_time_ms)
    return fields


def two_digits(seconds: float) -> int:
    """Return the age rounded down to two digits: a job that waits for days changes the status ever more seldom."""
    whole = max(0, int(seconds))
    unit = int(10 ** max(0, len(str(whole)) - 2))
    return whole // unit * unit
