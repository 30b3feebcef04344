"""What is due at a given moment, by the rules of a CronJob. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.schedule import cron
from hammerwork_operator.schedule.cron import Interval, Times
from hammerwork_operator.schedule.facts import Child

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatchschedule import ScheduleSpec
    from hammerwork_operator.schedule.facts import Facts
    from hammerwork_operator.schedule.observed import ObservedSchedule

MANY = 100
"""More scheduled times than this without a batch are told: a wrong clock looks like that."""
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))
_NO_ZONES = {"Local", "localtime"}
"""Names of whatever zone a machine is in."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduled times around a moment, and what is in the way of the one that is due."""

    scheduled: datetime | None = None
    """The latest one that has passed and may still be started; older ones are given up."""
    missed: datetime | None = None
    """The latest one that has passed, if it was too long ago to be started."""
    many: bool = False
    """Whether more than `MANY` have passed."""
    next: datetime | None = None
    """The next one; None where none is made, as by a schedule that is suspended."""
    ahead: datetime | None = None
    """From when times count, if that lies ahead and leaves out some."""
    blocked_by: Child | None = None
    """With concurrencyPolicy Forbid: the batch that `scheduled` waits for."""
    obstacle: Obstacle | None = None


def look(times: Times, since: datetime, deadline: timedelta | None, now: datetime) -> Due:
    """Return what is due.

    `since` is the last scheduled time that was made, or from when they count; `deadline` how long ago one may be.
    """
    nearest = times.next(now)
    ahead = since if nearest is not None and nearest <= since else None
    if isinstance(times, Interval):
        times = times.counted_from(since)
    following = times.next(max(since, now))
    start = since if deadline is None else max(since, now - deadline)
    found, many = _latest(times, start, now)
    missed = _latest(times, since, start)[0] if found is None else None
    return Due(scheduled=found, missed=missed, many=many, next=following, ahead=ahead)


def zone_of(spec: ScheduleSpec) -> tzinfo | None:
    """Return the time zone, or None if there is none of the name."""
    if spec.time_zone is UNSET:
        return UTC
    try:
        return None if spec.time_zone in _NO_ZONES else ZoneInfo(spec.time_zone)
    except (LookupError, OSError, ValueError):
        return None


def times_of(spec: ScheduleSpec) -> Times | Obstacle:
    """Return the times of the schedule, or what is wrong with it."""
    if (zone := zone_of(spec)) is None:
        message = f"spec.timeZone: {str(spec.time_zone)!r} is not in the operator's time zone database"
        return Obstacle(Reason.UNKNOWN_TIME_ZONE, message)
    if "TZ" in spec.schedule:
        message = f"spec.schedule: {spec.schedule!r}: the time zone goes into spec.timeZone"
        return Obstacle(Reason.INVALID_SCHEDULE, message)
    try:
        return cron.parse(spec.schedule, zone)
    except cron.InvalidCronError as error:
        return Obstacle(Reason.INVALID_SCHEDULE, f"spec.schedule: {error}")


def last_scheduled(observed: ObservedSchedule, facts: Facts) -> datetime | None:
    """Return the latest time for which there is, or was, a batch."""
    times = [observed.last_scheduled, facts.made, *(child.scheduled_at for child in facts.children)]
    return max((time for time in times if time is not None), default=None)


def _latest(times: Times, after: datetime, until: datetime) -> tuple[datetime | None, bool]:
    """Return the last time after `after` and not after `until`, and whether there are many of them."""
    if isinstance(times, Interval):
        count = times.until(until) - times.until(after)
        return (times.next(until - times.interval) if count > 0 else None), count > MANY
    found, at = None, times.next(after)
    for _ in range(MANY):
        if at is None or at > until:
            return found, False
        found, at = at, times.next(at)
    for window in _WINDOWS:
        if (nearer := _last_of_few(times, until - window, until)) is not None:
            return nearer, True
    return _last_of_few(times, after, until), True


def _last_of_few(times: Times, after: datetime, until: datetime) -> datetime | None:
    found, at = None, times.next(after)
    while at is not None and at <= until:
        found, at = at, times.next(at)
    return found
