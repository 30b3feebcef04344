"""Cron expressions as a CronJob reads them, and the times that they stand for. Pure.

Kubernetes leaves both to the Go library robfig/cron, version 3. This is its language and its way from one time to the
next, with what that means where clocks are changed: a time that the change leaves out has no run, one that it repeats
has two. tests/unit/operator/cron_table has what the library itself answers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Protocol

import msgspec

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_MIDNIGHT = timedelta(0)
_YEARS = 5
"""How far ahead a time is looked for."""
_SHORTEST_INTERVAL = timedelta(minutes=1)

_EVERY = "@every "
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {
    "ns": Fraction(1, 1_000_000_000),
    "us": Fraction(1, 1_000_000),
    "µs": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1_000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3_600),
}
_PART = re.compile(r"([0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(ns|us|µs|ms|s|m|h)")


class InvalidCronError(ValueError):
    """The text is no cron expression; the message says what is wrong with it."""


class Times(Protocol):
    """When something is to run."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after `after`, in UTC; None if there is none within five years."""


class _Field(msgspec.Struct, frozen=True):
    """What the values of a field of an expression are."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Of the values from `low` on."""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


class _Chosen(msgspec.Struct, frozen=True):
    values: frozenset[int]
    every: bool
    """Whether the field says ``*``. Then a day has to match both fields for days, else one of them."""


def parse(expression: str, zone: tzinfo = UTC) -> Times:
    """Return the times of an expression: five fields, a macro such as ``@daily``, or ``@every 1h30m``.

    Raises:
        InvalidCronError: It is none.
    """
    if expression.startswith(_EVERY):
        return Interval(_interval(expression.removeprefix(_EVERY)))
    if expression.startswith("@") and expression not in _MACROS:
        allowed = ", ".join(_MACROS)
        raise InvalidCronError(f"{expression!r} is not a macro; must be one of {allowed} or @every DURATION")
    words = _MACROS.get(expression, expression).split()
    if len(words) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise InvalidCronError(f"{len(words)} fields, must be 5: {names}; or a macro such as @daily")
    minute, hour, day, month, weekday = (_choose(word, field) for word, field in zip(words, _FIELDS, strict=True))
    return Calendar(minute, hour, day, month, weekday, zone)


def _choose(word: str, field: _Field) -> _Chosen:
    values: set[int] = set()
    every = False
    for part in filter(None, word.split(",")):
        found, star = _range(part, field)
        values |= found
        every = every or star
    return _Chosen(frozenset(values), every)


def _range(part: str, field: _Field) -> tuple[set[int], bool]:
    ends, *steps = part.split("/")
    if len(steps) > 1:
        raise InvalidCronError(f"{field.name} {part!r}: more than one '/'")
    step = _number(steps[0], part, field) if steps else 1
    if step == 0:
        raise InvalidCronError(f"{field.name} {part!r}: the step must not be 0")
    low, *highs = ends.split("-")
    if low in {"*", "?"}:
        return set(range(field.low, field.high + 1, step)), step == 1
    if len(highs) > 1:
        raise InvalidCronError(f"{field.name} {part!r}: more than one '-'")
    first = _number(low, part, field, named=True)
    last = _number(highs[0], part, field, named=True) if highs else field.high if steps else first
    if not field.low <= first <= last <= field.high:
        limits = f"must be within {field.low}-{field.high}" if first <= last else "begins after its end"
        raise InvalidCronError(f"{field.name} {part!r}: {limits}")
    return set(range(first, last + 1, step)), False


def _number(text: str, part: str, field: _Field, *, named: bool = False) -> int:
    if named and text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text, re.ASCII) or int(text) < 0:
        names = f" or one of {', '.join(field.names)}" if named and field.names else ""
        raise InvalidCronError(f"{field.name} {part!r}: {text!r} is not a number from 0{names}")
    return int(text)


def _interval(text: str) -> timedelta:
    parts = list(_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text.removeprefix("+"):
        raise InvalidCronError(f"@every {text!r}: must be a duration such as 90m or 1h30m")
    seconds = int(sum(Fraction(part[1].strip(".") if part[1] != "." else "0") * _UNITS[part[2]] for part in parts))
    try:
        interval = timedelta(seconds=seconds)
    except OverflowError:
        interval = timedelta(0)
    if not _SHORTEST_INTERVAL <= interval <= timedelta(days=366 * _YEARS):
        raise InvalidCronError(f"@every {text!r}: must be from 1 minute to {_YEARS} years")
    return interval


class Interval(msgspec.Struct, frozen=True):
    """``@every``: so long after the time before."""

    interval: timedelta
    start: datetime | None = None
    """The times are whole intervals after this one; None: after whatever time is asked for."""

    def counted_from(self, start: datetime) -> Interval:
        """Return the times that are whole intervals after `start`, which counts in whole seconds."""
        return Interval(self.interval, start.astimezone(UTC).replace(microsecond=0))

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after `after`, in whole seconds."""
        if self.start is None:
            return self.counted_from(after).next(after)
        return self.start + (self.until(after) + 1) * self.interval

    def until(self, moment: datetime) -> int:
        """Return how many times there are up to this moment, and at it."""
        return 0 if self.start is None else max(0, (moment - self.start) // self.interval)


class Calendar(msgspec.Struct, frozen=True):
    """The minutes at which the clock of a zone shows what the fields say."""

    minute: _Chosen
    hour: _Chosen
    day: _Chosen
    month: _Chosen
    weekday: _Chosen
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after `after`.

        A field that does not match is raised until it does; one that starts anew, such as hours at midnight, makes
        the fields before it be looked at again. Hours and minutes pass as they do in the world, days as on a calendar.
        """
        at = self._local(after.replace(microsecond=0).astimezone(UTC) + timedelta(seconds=1))
        last_year = at.year + _YEARS
        raised = False
        while at.year <= last_year:
            for find in (self._month, self._day, self._hour, self._minute, self._second):
                at, raised, again = find(at, raised)
                if again:
                    break
            else:
                return at.astimezone(UTC)
        return None

    def _month(self, at: datetime, raised: bool) -> tuple[datetime, bool, bool]:
        while at.month not in self.month.values:
            if not raised:
                raised = True
                at = self._date(at.year, at.month, 1)
            at = self._date(at.year + at.month // 12, at.month % 12 + 1, at.day, _shown(at))
            if at.month == 1:
                return at, raised, True
        return at, raised, False

    def _day(self, at: datetime, raised: bool) -> tuple[datetime, bool, bool]:
        while not self._day_matches(at):
            if not raised:
                raised = True
                at = self._date(at.year, at.month, at.day)
            before = at.astimezone(UTC)
            at = self._date(at.year, at.month, at.day + 1, _shown(at))
            if at.hour > 12:  # the day begins at one o'clock, so midnight was taken for 23 o'clock
                at = self._later(at, (24 - at.hour) * _HOUR)
            elif at.hour > 0:
                at = self._later(at, -at.hour * _HOUR)
            if at.astimezone(UTC) <= before:  # the zone leaves out a whole day; the Go library never ends here
                at = self._local(before + timedelta(days=1))
            if at.day == 1:
                return at, raised, True
        return at, raised, False

    def _day_matches(self, at: datetime) -> bool:
        day, weekday = at.day in self.day.values, at.isoweekday() % 7 in self.weekday.values
        return day and weekday if self.day.every or self.weekday.every else day or weekday

    def _hour(self, at: datetime, raised: bool) -> tuple[datetime, bool, bool]:
        while at.hour not in self.hour.values:
            if not raised:
                raised = True
                at = self._date(at.year, at.month, at.day, at.hour * _HOUR)
            at = self._later(at, _HOUR)
            if at.hour == 0:
                return at, raised, True
        return at, raised, False

    def _minute(self, at: datetime, raised: bool) -> tuple[datetime, bool, bool]:
        while at.minute not in self.minute.values:
            if not raised:
                raised = True
                at = self._later(at, -timedelta(seconds=at.second))
            at = self._later(at, _MINUTE)
            if at.minute == 0:
                return at, raised, True
        return at, raised, False

    def _second(self, at: datetime, raised: bool) -> tuple[datetime, bool, bool]:
        if at.second == 0:
            return at, raised, False
        return self._later(at, timedelta(seconds=60 - at.second)), True, True

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def _later(self, at: datetime, time: timedelta) -> datetime:
        return self._local(at.astimezone(UTC) + time)

    def _date(self, year: int, month: int, day: int, shown: timedelta = _MIDNIGHT) -> datetime:
        """Return the moment at which the zone's clock shows so much; what a change of clocks leaves out is moved.

        As in Go: the offset is the one that holds where the offset at the same time of UTC leads. Days may be too many.
        """
        wall = datetime(year, month, 1, tzinfo=UTC) + timedelta(days=day - 1) + shown
        moment = wall - self._offset(wall)
        return self._local(wall - self._offset(moment))

    def _offset(self, moment: datetime) -> timedelta:
        offset = self._local(moment).utcoffset()
        assert offset is not None
        return offset


def _shown(at: datetime) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second)
