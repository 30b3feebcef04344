"""Rows of a query of the user's: what their values become as JSON, and how much of them is read at a time."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from hammerwork.batch import MAX_PAYLOAD_BYTES
from hammerwork.errors import DatabaseUnavailableError, QueryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

BLOCK_BYTES = 512 * 1024
"""Of rows, as the server sends them, that are read at a time; and one row more, of whatever size it may have."""
MOST_ROWS = 1_000
"""Read at a time, at most."""
MAX_ROW_BYTES = 2 * MAX_PAYLOAD_BYTES
"""Of a row as the server sends it. A payload may be shorter as JSON, as where a text of JSON has space in it."""
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


def too_large(row: int, size: int) -> QueryError:
    """Return the error for a row, or with 0 for something else that the server sends, that is not read for its size."""
    return QueryError(
        f"{f'row {row:,}' if row else 'a message of the server'}: at least {size:,} bytes as the server sends it, the "
        f"limit is {MAX_ROW_BYTES:,}; select what leads the handler to the data instead"
    )


class Answer(Protocol):
    """What a server answers to a query."""

    deadline: float
    """Time of the running event loop; nothing more is read after it."""

    async def begin(self) -> Sequence[str]:
        """Make the query; return the names of its columns."""
        ...

    async def read(self) -> Sequence[Sequence[Any]]:
        """Return the next rows, up to `MOST_ROWS`, or `BLOCK_BYTES` and one row; none at the end."""
        ...


async def objects(answer: Answer, timeout: float) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the object of each row.

    Raises:
        QueryError: A value has no form in JSON, or the query's time, which is `timeout` seconds, is over.
    """
    loop = asyncio.get_running_loop()
    names = await answer.begin()
    check_names(names)
    count = 0
    while True:
        if loop.time() > answer.deadline:
            raise late(timeout)
        rows = await answer.read()
        for row in rows:
            count += 1
            values = [value if type(value) in _PLAIN else _json(value, count, names[i]) for i, value in enumerate(row)]
            yield dict(zip(names, values, strict=True))
        if not rows:
            return


def _json(value: Any, row: int, column: str) -> Any:
    try:
        return as_json(value)
    except ValueError as error:
        raise QueryError(f"row {row:,}, column {column!r}: {error}") from None


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
