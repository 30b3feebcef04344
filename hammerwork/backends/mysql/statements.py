"""Statements as the bytes that go to the server: the texts of sql/ with values in place of their parameters."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hammerwork.backends.sql import PARAMETER, read_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PACKAGE = "hammerwork.backends.mysql"

_INCLUDED = re.compile(r"\{([a-z_]+)\}")
_COMMENT = re.compile(r"^ *--.*\n?", re.MULTILINE)


def literal(value: object) -> bytes:
    """Return a value as SQL. Exact in a session with utf8mb4 and without NO_BACKSLASH_ESCAPES.

    A list becomes its members with commas between them, for ``IN (…)``; an empty one a NULL, which equals nothing.
    """
    if isinstance(value, list | tuple | set | frozenset):
        return b",".join(map(literal, value)) or b"NULL"
    try:
        return _LITERALS[type(value)](value)
    except KeyError:
        raise TypeError(f"SQL value {value!r}: type {type(value).__name__} has no literal") from None


def quoted(text: bytes) -> bytes:
    """Return UTF-8 text as a string literal."""
    return b"'%b'" % escaped(text)


def escaped(text: bytes) -> bytes:
    """Return UTF-8 text as it stands between the quotes of a string literal."""
    return text.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0")


_LITERALS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _value: b"NULL",
    bool: lambda value: b"TRUE" if value else b"FALSE",
    int: lambda value: b"%d" % value,
    float: lambda value: b"%.16e" % value,  # without an exponent it would be a DECIMAL
    str: lambda value: quoted(value.encode()),
    UUID: lambda value: b"x'%b'" % value.hex.encode(),
    datetime: lambda value: value.astimezone(UTC).strftime("'%Y-%m-%d %H:%M:%S.%f'").encode(),
}


def statement(*names: str, **values: Any) -> bytes:
    """Return the texts of these names one after the other, with the values of their parameters."""
    parts = []
    for name in names:
        fixed, parameters = _template(name)
        parts.append(fixed[0])
        for text, parameter in zip(fixed[1:], parameters, strict=True):
            parts += (literal(values[parameter]), text)
    return b"".join(parts)


def is_block(*names: str) -> bool:
    """Whether the text of these names has several statements."""
    return len(names) > 1 or any(b";" in part for part in _template(names[0])[0])


def _text(name: str) -> str:
    """Return a text with those that it names in braces in their places."""
    return _INCLUDED.sub(lambda found: _text(found[1]), _COMMENT.sub("", read_queries(PACKAGE)[name]))


@cache
def _template(name: str) -> tuple[Sequence[bytes], Sequence[str]]:
    pieces = PARAMETER.split(_text(name) + "\n")
    return [piece.encode() for piece in pieces[::2]], pieces[1::2]
