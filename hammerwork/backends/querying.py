"""Rows of a query of the user's: what their values become as JSON, and how many are fetched at a time."""

from __future__ import annotations

import base64
import ipaddress
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from hammerwork.errors import DatabaseUnavailableError, QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BLOCK_BYTES = 512 * 1024
MOST_ROWS = 1_000
"""Fetched at a time, at most; fewer where rows are large, and at most twice as many as the last time."""
FIRST_ROWS = 1
GRACE_SECONDS = 5.0
"""The server gives up a query before the client does."""

_PLAIN = {str, int, bool, dict, type(None)}


def check_names(names: Sequence[str]) -> None:
    """Raise `QueryError` unless each column has a name of its own."""
    if not names:
        raise QueryError("the statement returns no columns; it must be a query, such as SELECT")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise QueryError(f"the column {name!r} is there twice; give one of them another name with AS")


def late(timeout: float) -> QueryError:
    """Return the error for a query whose time is over."""
    return QueryError(f"it has not ended within {timeout:g} seconds, its rows' storing included")


def silent(address: str) -> DatabaseUnavailableError:
    """Return the error for a server that has neither answered a query nor ended it."""
    return DatabaseUnavailableError(f"database {address}: no answer to a query, and none that it has taken too long")


def made_elsewhere(address: str, batch_id: UUID) -> DatabaseUnavailableError:
    """Return the error for a query that another process makes for the same batch."""
    return DatabaseUnavailableError(f"database {address}: another process makes the same query for batch {batch_id}")


class Rows:
    """Makes objects of JSON from the rows of one query."""

    def __init__(self, names: Sequence[str]) -> None:
        check_names(names)
        self._names = names
        self._count = 0
        self.block = FIRST_ROWS
        """How many to fetch next."""

    def objects(self, rows: Sequence[Sequence[Any]]) -> Iterator[dict[str, Any]]:
        """Yield the object of each row; raises `QueryError` for a value that has none."""
        size = 0
        for row in rows:
            self._count += 1
            values = [value if type(value) in _PLAIN else self._json(value, i) for i, value in enumerate(row)]
            size += sum(map(_size, values))
            yield dict(zip(self._names, values, strict=True))
        if rows:
            self.block = max(1, min(MOST_ROWS, 2 * self.block, BLOCK_BYTES * len(rows) // max(1, size)))

    def _json(self, value: Any, column: int) -> Any:
        try:
            return as_json(value)
        except ValueError as error:
            raise QueryError(f"row {self._count:,}, column {self._names[column]!r}: {error}") from None


def _size(value: Any) -> int:
    """Return about how many bytes a value takes."""
    if isinstance(value, str):
        return len(value)
    return len(msgspec.json.encode(value)) if isinstance(value, dict | list) else 16


def as_json(value: Any) -> Any:
    """Return what a value of a database becomes as JSON; raises ValueError if it has no form there."""
    if type(value) in _PLAIN:
        return value
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value)
    raise ValueError(f"a value of the type {type(value).__name__} has no form in JSON; cast it to text")


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not JSON; leave the row out, or cast it to text")
    return value


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is not JSON; leave the row out, or cast it to text")
    return format(value, "f")


def _moment(value: datetime) -> str:
    bare = value.replace(tzinfo=None)
    _check_finite(bare in {datetime.min, datetime.max})  # noqa: DTZ901 (what the driver makes of infinity)
    return bare.isoformat() if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _day(value: date) -> str:
    _check_finite(value in {date.min, date.max})
    return value.isoformat()


def _check_finite(infinite: bool) -> None:
    if infinite:
        raise ValueError("infinity is not JSON; leave the row out, or cast it to text")


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (float, _number),
    (Decimal, _decimal),
    (datetime, _moment),
    (date, _day),
    (time, time.isoformat),
    (bytes | bytearray | memoryview, lambda value: base64.b64encode(value).decode()),
    (list, lambda value: [as_json(item) for item in value]),
    (
        UUID
        | ipaddress.IPv4Address
        | ipaddress.IPv6Address
        | ipaddress.IPv4Interface
        | ipaddress.IPv6Interface
        | ipaddress.IPv4Network
        | ipaddress.IPv6Network,
        str,
    ),
)
