"""Which of the failed jobs of a batch are meant: a value, without a database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import InvalidSelectionError

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_RANGES = 1_000
MAX_INDEX = 2**31 - 2
"""PostgreSQL keeps the end of a range as the integer after it."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Failed jobs by the type of their last failure, by their index, or by both; what is None chooses all."""

    types: tuple[str, ...] | None = None
    spans: tuple[tuple[int, int], ...] | None = None
    """(first, last) of each range, in ascending order; none touches another."""

    @property
    def text(self) -> str:
        """As JSON. Equal selections have equal texts."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Selection:
        """Return what `text` was made from."""
        return msgspec.json.decode(text, type=cls)

    def matches(self, index: int, error_type: str) -> bool:
        """Whether a job is meant whose last attempt failed with this type."""
        if self.types is not None and error_type not in self.types:
            return False
        return self.spans is None or any(first <= index <= last for first, last in self.spans)


def select(error_types: Collection[str] | None, indexes: str | None) -> Selection | None:
    """Return the selection of failed jobs; None: all of them, as nothing is chosen.

    Raises:
        InvalidSelectionError: `indexes` are not of the form ``5-9,77``.
    """
    if isinstance(error_types, str):
        raise InvalidSelectionError(f"error types: {error_types!r} is one text; give a list of names")
    types = tuple(sorted(set(error_types))) if error_types else None
    spans = None if indexes is None else parse_indexes(indexes)
    return Selection(types=types, spans=spans) if types or spans else None


def parse_indexes(text: str) -> tuple[tuple[int, int], ...]:
    """Return the ranges that a text such as ``5-9,77`` names, in ascending order.

    Raises:
        InvalidSelectionError: It names none, too many, or something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_RANGES:
        raise InvalidSelectionError(f"indexes: {len(parts):,} ranges, the limit is {MAX_RANGES:,}")
    spans: list[tuple[int, int]] = []
    for first, last in sorted(map(_range, parts)):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return tuple(spans)


def _range(part: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(part)
    if found is None:
        what = f"{part!r} is no range" if part else "a range is empty"
        raise InvalidSelectionError(f"indexes: {what}; write indexes and ranges of them with commas between, as 5-9,77")
    first, last = int(found[1]), int(found[2] or found[1])
    if last > MAX_INDEX:
        raise InvalidSelectionError(f"indexes: {part}: the limit is {MAX_INDEX:,}")
    if last < first:
        raise InvalidSelectionError(f"indexes: {part} ends before it begins; write {last}-{first}")
    return first, last
