"""Real database servers: each on a free port of the loopback interface, in a folder of its own, removed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class UnavailableServerError(Exception):
    """A server cannot be had on this machine; says what was tried and what came of it."""


class Server(Protocol):
    """A database server that runs."""

    @property
    def family(self) -> str:
        """``postgresql`` or ``mysql``: whose SQL it speaks."""
        ...

    @property
    def port(self) -> int: ...

    def url(self, database: str = ..., *, user: str | None = None) -> str:
        """Return the URL of a database, for the administrator or for `user`, who has no password."""
        ...


class OwnServer(Server, Protocol):
    """A server that a test may stop and start; the data stay."""

    folder: Path

    def start(self) -> None: ...

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode ``immediate`` is a crash."""
        ...
