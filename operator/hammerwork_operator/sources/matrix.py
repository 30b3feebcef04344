"""spec.generate.matrix: every combination of the values of some names."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from hammerwork_operator.api.sources import MAX_GENERATED_JOBS, MAX_ITEMS, MAX_MATRIX_FIELDS
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_KINDS = "a list of values, or {from, to} with two days, such as 2026-01-31, or two whole numbers"


class Axis(NamedTuple):
    """The values of one name."""

    name: str
    size: int
    values: Callable[[], Iterator[Any]]
    """The values from the first on; a range is as small as its two ends."""

    @property
    def placeholder(self) -> str:
        """How a template names its value."""
        return f"matrix.{self.name}"


def axes(given: Mapping[str, Any], where: str) -> list[Axis]:
    """Return the axes in the order of their names: objects in JSON have no other.

    Raises:
        InvalidSourceError: The matrix breaks a rule; `where` is its path in the object.
    """
    if not 1 <= len(given) <= MAX_MATRIX_FIELDS:
        raise InvalidSourceError(f"{where}: {len(given)} names, must be 1 to {MAX_MATRIX_FIELDS}")
    found = [_axis(name, given[name], where) for name in sorted(given)]
    if (total := size(found)) > MAX_GENERATED_JOBS:
        sizes = " × ".join(f"{axis.size:,}" for axis in found)
        raise InvalidSourceError(f"{where}: {sizes} = {total:,} combinations, the limit is {MAX_GENERATED_JOBS:,}")
    return found


def size(of: Sequence[Axis]) -> int:
    """Return the number of combinations."""
    return math.prod(axis.size for axis in of)


def combinations(of: Sequence[Axis]) -> Iterator[Mapping[str, Any]]:
    """Yield the values by placeholder of each combination, the last name's changing fastest; in the same dict."""
    values: dict[str, Any] = {}

    def turn(position: int) -> Iterator[Mapping[str, Any]]:
        if position == len(of):
            yield values
            return
        placeholder = of[position].placeholder
        for value in of[position].values():
            values[placeholder] = value
            yield from turn(position + 1)

    return turn(0)


def _axis(name: str, given: object, where: str) -> Axis:
    if not _NAME.fullmatch(name):
        raise InvalidSourceError(
            f"{where}: the name {name!r} must be 1 to 63 letters, digits, '_' or '-', with a letter or '_' first"
        )
    place = f"{where}.{name}"
    if isinstance(given, list):
        if not 1 <= len(given) <= MAX_ITEMS:
            raise InvalidSourceError(f"{place}: {len(given):,} values, must be 1 to {MAX_ITEMS:,}")
        return Axis(name, len(given), lambda: iter(given))
    if not isinstance(given, dict) or set(given) != {"from", "to"}:
        raise InvalidSourceError(f"{place}: {json.dumps(given):.100}, must be {_KINDS}")
    first, last = given["from"], given["to"]
    if _is_whole(first) and _is_whole(last):
        whole = _range(first, last, given, place)
        return Axis(name, len(whole), lambda: iter(whole))
    days = _range(_day(first, place), _day(last, place), given, place)
    return Axis(name, len(days), lambda: (date.fromordinal(day).isoformat() for day in days))


def _range(first: int, last: int, given: Mapping[str, Any], place: str) -> range:
    if last < first:
        raise InvalidSourceError(f"{place}: from {given['from']} is after to {given['to']}, so it has no value")
    if last - first >= MAX_GENERATED_JOBS:
        raise InvalidSourceError(f"{place}: {last - first + 1:,} values, the limit is {MAX_GENERATED_JOBS:,}")
    return range(first, last + 1)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _day(value: object, place: str) -> int:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value).toordinal()
        except ValueError:
            pass
    raise InvalidSourceError(f"{place}: {value!r} is no day, such as 2026-01-31")
