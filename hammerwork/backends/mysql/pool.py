"""A pool of aiomysql connections. The driver's own keeps all others waiting while it opens one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from hammerwork.backends.mysql.options import open_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_RECYCLE_SECONDS = 120
"""A connection that was idle for longer is replaced; servers and what is in between forget them."""
_CLOSE_SECONDS = 5.0
CANCEL_SECONDS = 3.0
"""How long it may take to have a server end a statement that nobody waits for any more."""


_WHOSE = "SELECT host FROM information_schema.processlist WHERE id = %d"


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
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        self.opened = 0
        """Connections so far."""

    @contextlib.asynccontextmanager
    async def lend(self, *, within: float) -> AsyncIterator[Any]:
        """Lend a connection; it must be closed by its user if anything goes wrong with it."""
        async with asyncio.timeout(within):
            await self._slots.acquire()
        try:
            async with asyncio.timeout(within):
                connection = self._usable() or await self._open()
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.remove(connection)
                self._take_back(connection)
        finally:
            self._slots.release()

    async def _open(self) -> Any:
        connection = await open_connection(**self._options)
        self.opened += 1
        return connection

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

    def abandon(self, connection: Any, port: int | None) -> None:
        """Close a connection whose statement runs still, and have the server end that; nobody waits but `close`.

        Just to close it would leave the statement to go on at the server, with its locks and its session. The driver
        may have closed it already, so `port` is what `local_port` returned before.
        """
        connection.close()
        task = asyncio.create_task(self._kill(connection.thread_id(), port), name="end an abandoned statement")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _kill(self, number: int, port: int | None) -> None:
        options = {**self._options, "init_command": None, "connect_timeout": CANCEL_SECONDS}
        with contextlib.suppress(Exception):  # it is a favour to the server, whose own limits end the statement later
            async with asyncio.timeout(CANCEL_SECONDS):
                connection = await open_connection(**options)
                try:
                    # Through a balancer this may be another server, where somebody else has the number.
                    await connection.query(_WHOSE % number)
                    if any(port is None or host.endswith(f":{port}") for (host,) in connection._result.rows):  # noqa: SLF001
                        await connection.query(f"KILL {number}")
                finally:
                    await say_good_bye(connection)

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._free:
                    await say_good_bye(self._free.pop()[0])
                for _ in range(self._size):
                    await self._slots.acquire()
                await asyncio.gather(*self._leaving)
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        self.drop_free()
        for connection in self._lent:
            connection.close()


async def say_good_bye(connection: Any) -> None:
    """Close a connection as the server likes it. TLS takes its time to end; the driver does not wait for it."""
    writer = connection._writer  # noqa: SLF001
    if writer is None:
        return  # the driver has closed it: the other end was gone
    with contextlib.suppress(OSError):  # some answer by breaking the connection
        await connection.ensure_closed()
        await writer.wait_closed()


def local_port(connection: Any) -> int | None:
    """Return the port that the server sees a connection come from; None for a Unix socket."""
    name = connection._writer.get_extra_info("sockname")  # noqa: SLF001
    return name[1] if isinstance(name, tuple) else None
