"""Handlers that hold something open, such as connections or processes, while a worker runs."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class Held(ABC):
    """Base of handlers that are opened by the first worker that uses them, and closed by the last."""

    _users = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0:
            await self.close()

    @abstractmethod
    def open(self) -> None:
        """Make what the handler needs; called on the event loop."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it."""


def held_open(handler: object) -> contextlib.AbstractAsyncContextManager[Any]:
    """Return what a worker enters before its first job, and leaves after its last: the handler if it can be entered."""
    if hasattr(type(handler), "__aenter__") and isinstance(handler, contextlib.AbstractAsyncContextManager):
        return handler
    return contextlib.nullcontext()
