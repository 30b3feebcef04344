"""A pool of connections, the same for each driver: to lend one costs no turn of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from hammerwork.timing import CLOSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

IDLE_SECONDS = 120
"""A connection that nobody has used for longer is closed; servers and what is in between forget them."""


class Sessions(Protocol):
    """What a pool asks of a driver."""

    async def open(self) -> Any:
        """Return a new connection."""
        ...

    def is_usable(self, connection: Any) -> bool:
        """Whether the connection is open, as far as is known here, and within no transaction."""
        ...

    def drop(self, connection: Any) -> None:
        """Close a connection at once, without a word to the server."""
        ...

    async def leave(self, connection: Any) -> None:
        """Close a connection as the server likes it."""
        ...


class Pool:
    """Lends at most `size` connections at a time, the one used last first.

    Raises what the driver raises, or ConnectionError once it is closed.
    """

    def __init__(self, size: int, sessions: Sessions) -> None:
        self._size = size
        self._sessions = sessions
        self._slots = asyncio.Semaphore(size)
        self._free: list[tuple[Any, float]] = []
        """With the time since when; the one that came last is the last."""
        self._lent: set[Any] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False
        self.opened = 0
        """Connections so far."""

    @contextlib.asynccontextmanager
    async def lend(self, *, within: float) -> AsyncIterator[Any]:
        """Lend a connection; its user closes it, or calls `abandon`, if anything has gone wrong with it."""
        async with asyncio.timeout(within):
            await self._slots.acquire()
        try:
            connection = self._take()
            if connection is None:
                async with asyncio.timeout(within):
                    connection = await self._sessions.open()
                self.opened += 1
            self._lent.add(connection)
            try:
                yield connection
            finally:
                if connection in self._lent:
                    self._lent.remove(connection)
                    self._take_back(connection)
        finally:
            self._slots.release()

    def _take(self) -> Any:
        if self._closed:
            raise ConnectionError("the queue was closed")
        while self._free:
            connection, since = self._free.pop()
            if time.monotonic() - since <= IDLE_SECONDS and self._sessions.is_usable(connection):
                return connection
            self._sessions.drop(connection)
        return None

    def _take_back(self, connection: Any) -> None:
        if self._closed or not self._sessions.is_usable(connection):
            self._sessions.drop(connection)
            return
        self._free.append((connection, time.monotonic()))
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = time.monotonic()
        while self._free and now - self._free[0][1] >= IDLE_SECONDS:
            connection, _ = self._free.pop(0)
            self.abandon(connection, self._sessions.leave(connection))
        if self._free:
            wait = self._free[0][1] + IDLE_SECONDS - now
            self._expiry = asyncio.get_running_loop().call_later(wait, self._expire)

    def drop_free(self) -> None:
        """Close the connections that nobody uses."""
        while self._free:
            self._sessions.drop(self._free.pop()[0])

    def abandon(self, connection: Any, ending: Coroutine[Any, Any, None]) -> None:
        """Lend a connection no more. `ending` ends what it does at the server; nobody but `close` waits for that."""
        self._lent.discard(connection)
        task = asyncio.create_task(ending, name="end an abandoned connection")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force; at once where this is cancelled."""
        if self._closed:
            return
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        try:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    while self._free:
                        await self._sessions.leave(self._free.pop()[0])
                    for _ in range(self._size):
                        await self._slots.acquire()
                    await asyncio.gather(*self._leaving)
        finally:
            self.drop_free()
            for connection in self._lent:
                self._sessions.drop(connection)
            for task in self._leaving:
                task.cancel()
            await asyncio.gather(*self._leaving, return_exceptions=True)
