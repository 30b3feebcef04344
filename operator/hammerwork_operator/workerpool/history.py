"""What scaling remembers of a pool: how many workers were wanted lately, and by how much their number changed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork_operator.api.autoscaling import ScalingBehavior


class Moment(msgspec.Struct, frozen=True):
    """A number of workers, or a change of it, at a time of the clock in seconds."""

    at: float
    workers: int


class History(msgspec.Struct, frozen=True):
    """Only what can still count is kept: it stays small however often it is added to."""

    highest: tuple[Moment, ...] = ()
    """Recommendations, falling: an earlier one that is not above a later one can never be the highest of a window."""
    lowest: tuple[Moment, ...] = ()
    """Recommendations, rising, as above."""
    changes: tuple[Moment, ...] = ()
    """By how much the number of workers changed."""

    @property
    def empty(self) -> bool:
        """Whether nothing has been recommended yet."""
        return not self.highest

    def recommended(self, now: float, workers: int, behavior: ScalingBehavior) -> History:
        """Return the history with another recommendation, without what the windows have passed."""
        new = Moment(now, workers)
        down, up = behavior.scale_down, behavior.scale_up
        highest = (each for each in self.highest if each.workers > workers)
        lowest = (each for each in self.lowest if each.workers < workers)
        return History(
            (*_since(highest, now - down.stabilization_window_seconds), new),
            (*_since(lowest, now - up.stabilization_window_seconds), new),
            self.changes,
        )

    def rescaled(self, now: float, change: int, behavior: ScalingBehavior) -> History:
        """Return the history with a change that was carried out, without those that no policy counts any more."""
        longest = max(
            policy.period_seconds for rules in (behavior.scale_up, behavior.scale_down) for policy in rules.policies
        )
        return msgspec.structs.replace(self, changes=(*_since(self.changes, now - longest), Moment(now, change)))

    def change_since(self, start: float) -> int:
        """Return by how much the number of workers has changed after `start`."""
        return sum(each.workers for each in _since(self.changes, start))


def _since(moments: Iterable[Moment], start: float) -> tuple[Moment, ...]:
    return tuple(each for each in moments if each.at > start)
