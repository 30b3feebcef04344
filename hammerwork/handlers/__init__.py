"""Handlers, which run the jobs: a file for each kind, and the list of the kinds.

A kind is added in three places: a struct in the operator's API (``spec.handler`` of a WorkerPool), a file here that has
a `Kind`, and a row in `KINDS`. Image and command line ask the list; what they pass on is a `HandlerReference`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hammerwork.errors import HandlerError
from hammerwork.handlers import exec as exec_handlers
from hammerwork.handlers import http as http_handlers
from hammerwork.handlers import python
from hammerwork.handlers import stream as stream_handlers
from hammerwork.handlers.exec import ExecHandler
from hammerwork.handlers.functions import BatchHandler, Handler, batch_handler
from hammerwork.handlers.http import HTTPHandler
from hammerwork.handlers.kinds import Kind
from hammerwork.handlers.stream import StreamHandler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "KINDS",
    "BatchHandler",
    "ExecHandler",
    "HTTPHandler",
    "Handler",
    "HandlerReference",
    "Kind",
    "StreamHandler",
    "allowed_texts",
    "batch_handler",
    "only_kind",
]

KINDS: tuple[Kind, ...] = (python.KIND, exec_handlers.KIND, stream_handlers.KIND, http_handlers.KIND)


class HandlerReference(msgspec.Struct, frozen=True):
    """A handler by what a manifest, the environment or an option says of it."""

    kind: str
    fields: dict[str, str]
    """Texts, by the names in `Kind.fields`."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the handler that an option names: of the first kind that knows such texts, else of the first one.

        Raises:
            HandlerError: A kind knows such texts, and says that this one is wrong.
        """
        for kind in KINDS:
            if kind.from_text is not None and (fields := kind.from_text(text)) is not None:
                return cls(kind.name, dict(fields))
        for kind in KINDS:
            pattern = kind.fields[kind.main].pattern
            if kind.from_text is None and pattern is not None and re.fullmatch(pattern, text):
                return cls(kind.name, {kind.main: text})
        return cls(KINDS[0].name, {KINDS[0].main: text})  # whose `load` says what is wrong with it

    @classmethod
    def from_manifest(cls, spec: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the handler of ``spec.handler`` of a WorkerPool, e.g. ``{"python": {"function": "handlers:run"}}``.

        What is no text, such as a list, is passed on as JSON.

        Raises:
            HandlerError: There is not exactly one kind.
        """
        kind = only_kind(spec)
        fields = spec[kind]
        texts = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in fields.items()
        }
        return cls(kind, texts)

    def environment(self) -> dict[str, str]:
        """Return the variables that tell a worker's container of the handler."""
        known = self._kind().fields
        return {known[name].variable: text for name, text in self.fields.items()}

    @property
    def path(self) -> str:
        """Where a manifest says what runs, below ``spec.handler``, e.g. ``python.function``."""
        return f"{self.kind}.{self._kind().main}"

    def load(self, folder: Path | None = None) -> Handler:
        """Return the handler.

        Args:
            folder: Where to look first for what it names.

        Raises:
            HandlerError: It cannot be loaded.
        """
        return self._kind().load(self.fields, folder)

    def _kind(self) -> Kind:
        for kind in KINDS:
            if kind.name == self.kind:
                return kind
        raise HandlerError(f"handler of kind {self.kind!r}: must be {' or '.join(kind.name for kind in KINDS)}")


def only_kind(spec: Mapping[str, Any]) -> str:
    """Return the one key of ``spec.handler`` of a WorkerPool.

    Raises:
        HandlerError: There is none, or more than one.
    """
    if len(spec) != 1:
        kinds = " or ".join(kind.name for kind in KINDS)
        raise HandlerError(f"{' and '.join(spec) or 'none'} given, must be exactly one of {kinds}")
    return next(iter(spec))


def allowed_texts() -> str:
    """Return what an option may name a handler by; see `HandlerReference.from_text`."""
    return " or ".join(kind.text or kind.fields[kind.main].allowed for kind in KINDS)
