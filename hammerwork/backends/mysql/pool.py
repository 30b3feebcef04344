"""A pool of aiomysql connections. The driver's own keeps all others waiting while it opens one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import aiomysql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_RECYCLE_SECONDS = 120
"""A connection that was idle for longer is replaced; servers and what is in between forget them."""
_CLOSE_SECONDS = 5.0


class Pool:
    """Lends at most `size` connections at a time, the one used last first.

    Raises what the driver raises, or ConnectionError once it is closed.
    """

    def __init__(self, size: int, options: dict[str, Any]) -> None:
        self._size = size
        self._options = options
        self._slots = asyncio.Semaphore(size)
        self._free: list[tuple[Any, float]] = []
        self._lent: set[Any] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def lend(self, *, within: float) -> AsyncIterator[Any]:
        """Lend a connection; it must be closed by its user if anything goes wrong with it."""
        async with asyncio.timeout(within):
            await self._slots.acquire()
        try:
            async with asyncio.timeout(within):
                connection = self._usable() or await aiomysql.connect(**self._options)
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.remove(connection)
                self._take_back(connection)
        finally:
            self._slots.release()

    def _usable(self) -> Any:
        if self._closed:
            raise ConnectionError("the queue was closed")
        while self._free:
            connection, since = self._free.pop()
            # MySQL 8 says good-bye before it closes, so there may be something to read before the end.
            reader = connection._reader  # noqa: SLF001
            if not (reader.eof_received or reader.exception() or time.monotonic() - since > _RECYCLE_SECONDS):
                return connection
            connection.close()
        return None

    def _take_back(self, connection: Any) -> None:
        if self._closed or connection.closed or connection.get_transaction_status():
            connection.close()
        else:
            self._free.append((connection, time.monotonic()))

    def drop_free(self) -> None:
        """Close the connections that nobody uses."""
        while self._free:
            self._free.pop()[0].close()

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        self._closed = True
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._free:
                    await _say_good_bye(self._free.pop()[0])
                for _ in range(self._size):
                    await self._slots.acquire()
        self.drop_free()
        for connection in self._lent:
            connection.close()


async def _say_good_bye(connection: Any) -> None:
    """Close a connection as the server likes it. TLS takes its time to end; the driver does not wait for it."""
    writer = connection._writer  # noqa: SLF001
    await connection.ensure_closed()
    await writer.wait_closed()
