"""Since when a JobBatch has been active, and when its deadline is. Pure.

As with a Job of batch/v1, the deadline limits the time that a batch is active without a break: suspending it stops the
clock, and resuming it starts the clock anew. When it was resumed stands in the condition Suspended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import UNSET

if TYPE_CHECKING:
    from datetime import datetime

    from hammerwork import BatchStatus
    from hammerwork_operator.jobbatch.observed import ObservedBatch

CLOCKS_DIFFER_SECONDS = 2.0
"""So much the operator's clock, which says when a deadline has passed, may be ahead of the database's."""


def active_since(observed: ObservedBatch, row: BatchStatus, now: datetime) -> datetime | None:
    """Return when the batch became active: when it was stored, resumed or retried; None while it is suspended."""
    stated = observed.stated
    if row.suspended and not row.finished:
        return None
    if stated.suspended and not row.finished:
        return now  # it has just been resumed
    return max(moment for moment in (row.created_at, row.retried_at, stated.resumed_at) if moment is not None)


def deadline_left(observed: ObservedBatch, row: BatchStatus, now: datetime) -> float | None:
    """Return the seconds until the deadline, negative once it has passed; None without one, or while it is stopped."""
    limit = observed.spec.active_deadline_seconds
    stopped = observed.spec.suspend or (observed.stated.suspended and row.finished)
    if limit is UNSET or stopped:
        return None
    since = active_since(observed, row, now)
    return None if since is None else (since + timedelta(seconds=limit) - now).total_seconds()


def has_exceeded(observed: ObservedBatch, row: BatchStatus, now: datetime) -> bool:
    """Return whether a cancelled batch was cancelled because of its deadline; `now` is when that is first looked at.

    When it ended is a time of the database's clock. A batch that ended a little before its deadline, and is looked at
    after it, is taken for one that the operator has cancelled.
    """
    left = deadline_left(observed, row, row.finished_at or now)
    left_now = deadline_left(observed, row, now)
    if left is None or left_now is None:
        return False
    return left <= 0 or (left_now <= 0 and left <= CLOCKS_DIFFER_SECONDS)
