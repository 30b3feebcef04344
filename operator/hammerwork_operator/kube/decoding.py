"""JSON of the API server, however deep it is nested. Pure.

The API server takes objects nested ten thousand levels deep; Python's decoders recurse, and give up at a tenth of that.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

MAX_LEVELS = 550
"""What is nested deeper than that in an answer may be cut off: more than any part of it that is used."""

_MARGIN_LEVELS = 50
"""Decoders differ by some levels, and by how deep in the program they are called."""

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A text, to the end where it has none, or what structures JSON."""


def decode(content: bytes) -> Any:
    """Return the value; where Python cannot hold it, null takes the place of what is deeper than `MAX_LEVELS`.

    Raises:
        msgspec.DecodeError: It is not JSON.
    """
    try:
        return _held(content)
    except RecursionError:
        return msgspec.json.decode(_cut(content))


def shallow(content: bytes) -> bytes:
    """Return JSON that Python's decoders can hold: in what is too deep, null is in place of what is below `MAX_LEVELS`.

    Raises:
        msgspec.DecodeError: It is not JSON.
    """
    try:
        _held(content)
    except RecursionError:
        return _cut(content)
    return content


def _held(content: bytes) -> Any:
    """Return the value, decoded within `_MARGIN_LEVELS` arrays.

    Raises:
        RecursionError: It is too deep.
        msgspec.DecodeError: It is not JSON.
    """
    value = msgspec.json.decode(b"[" * _MARGIN_LEVELS + content + b"]" * _MARGIN_LEVELS)
    for _ in range(_MARGIN_LEVELS):
        if len(value) != 1:  # nothing, or what ends the arrays around it
            raise msgspec.DecodeError("JSON is malformed: not one value")
        (value,) = value
    return value


def is_deeper_than(levels: int, value: object) -> bool:
    """Return whether arrays and objects are nested in a value more than so many levels deep."""
    found = [value]
    for _ in range(levels + 1):
        found = [member for each in found for member in _members(each)]
        if not found:
            return False
    return True


def _members(value: object) -> list[object]:
    """Return the arrays and objects in a value, and a None for its sake."""
    if isinstance(value, dict):
        return [None, *(member for member in value.values() if isinstance(member, dict | list))]
    if isinstance(value, list):
        return [None, *(member for member in value if isinstance(member, dict | list))]
    return []


def _cut(content: bytes) -> bytes:
    kept, level, start = [], 0, 0
    for token in _TOKEN.finditer(content):
        match content[token.start() : token.start() + 1]:
            case b"{" | b"[":
                level += 1
                if level == MAX_LEVELS + 1:
                    kept.append(content[start : token.start()])
            case b"}" | b"]":
                if level == MAX_LEVELS + 1:
                    kept.append(b"null")
                    start = token.end()
                level -= 1
            case _:
                pass
    if level <= MAX_LEVELS:  # else it is cut off where it is too deep, and so is what is kept
        kept.append(content[start:])
    return b"".join(kept)
