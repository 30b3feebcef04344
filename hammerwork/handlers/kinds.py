"""What a kind of handler tells of itself, so that whoever loads handlers need not know the kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from hammerwork.handlers.functions import Handler


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A text that tells something of a handler."""

    variable: str
    """The environment variable of a worker's container that holds it."""
    purpose: str
    """What it is for, as help texts say it."""
    allowed: str
    """What it may hold, as messages say it after ``must be``."""
    pattern: str
    """Regular expression that it matches."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of handler."""

    name: str
    """Its key below ``spec.handler`` of a WorkerPool."""
    fields: Mapping[str, Field]
    """By their keys below ``spec.handler.NAME``. The first one is needed, and shows which kind is meant."""
    load: Callable[[Mapping[str, str], Path | None], Handler]
    """Returns the handler that the fields describe. What they name is looked for in the folder first, if one is given.
    HandlerError: it cannot be loaded."""

    @property
    def main(self) -> str:
        """Name of the first field."""
        return next(iter(self.fields))
