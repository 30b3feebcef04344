"""The deadlines of a run's batches: as in the operator, suspending a batch stops its clock, resuming starts it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from hammerwork.reports import BatchStatus


class Deadlines:
    """Tells which batches have been active for too long. `limits` has the seconds of those that have a deadline."""

    def __init__(self, limits: Mapping[UUID, int]) -> None:
        self._limits = limits
        self._suspended_at: dict[UUID, float] = {}

    def passed(self, statuses: Iterable[BatchStatus], now: float) -> list[UUID]:
        """Return the unfinished batches whose deadline has passed at `now`, in seconds since the epoch.

        A suspension is noticed when it is seen here, so it has to be called again and again.
        """
        found = []
        for status in statuses:
            if status.suspended:
                self._suspended_at[status.batch_id] = now
            limit = self._limits.get(status.batch_id)
            since = self._suspended_at.get(status.batch_id, status.created_at.timestamp())
            if limit is not None and now - since > limit and not status.finished:
                found.append(status.batch_id)
        return found
