"""What a kind of handler tells of itself, so that whoever loads handlers need not know the kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hammerwork.errors import HandlerError
from hammerwork.handlers.functions import Handler


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A text that tells something of a handler."""

    variable: str
    """The environment variable of a worker's container that holds it."""
    purpose: str
    """What it is for, as help texts say it."""
    allowed: str
    """What it may hold, as messages say it after ``must be``."""
    pattern: str | None = None
    """Regular expression that it matches; None where it is no text but JSON, which `Kind.load` checks."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of handler."""

    name: str
    """Its key below ``spec.handler`` of a WorkerPool."""
    fields: Mapping[str, Field]
    """By their keys below ``spec.handler.NAME``. The first one is needed, and shows which kind is meant."""
    load: Callable[[Mapping[str, str], Path | None], Handler]
    """Returns the handler that the fields describe. What they name is looked for in the folder first, if one is given.
    HandlerError: it cannot be loaded."""

    text: str = ""
    """What an option may name such a handler by, as messages say it; by default what the first field allows."""
    from_text: Callable[[str], Mapping[str, str] | None] | None = None
    """Returns the fields of the handler that an option names, None for a text of another kind; by default the text is
    the first field if it matches its pattern. HandlerError: the text is of this kind, and wrong."""

    @property
    def main(self) -> str:
        """Name of the first field."""
        return next(iter(self.fields))


def read_json(text: str, kind: Any, of: Kind, name: str) -> Any:
    """Return what the field `name` holds as JSON.

    Raises:
        HandlerError: It is something else than a `kind`.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError):
        raise HandlerError(f"{of.name}.{name}: {text!r:.200}, must be {of.fields[name].allowed}") from None
