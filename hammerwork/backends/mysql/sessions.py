"""aiomysql's connections for the pool: how they are opened and ended, and what is still running in them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from hammerwork.backends.mysql.options import open_connection
from hammerwork.timing import CANCEL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WHOSE = "SELECT host, command FROM information_schema.processlist WHERE id = %d"


class MysqlSessions:
    """See `hammerwork.backends.pool.Sessions`; `options` are those of `open_connection`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    async def open(self) -> Any:
        return await open_connection(**self._options)

    def is_usable(self, connection: Any) -> bool:
        if connection.closed or connection.get_transaction_status():
            return False
        # MySQL 8 says good-bye before it closes, so there may be something to read before the end.
        reader = connection._reader  # noqa: SLF001
        return not (reader.eof_received or reader.exception())

    def drop(self, connection: Any) -> None:
        # The driver's own close would wait half a minute for the other end of TLS, which may be gone.
        writer = connection._writer  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()
        connection.close()

    async def leave(self, connection: Any) -> None:
        await say_good_bye(connection)

    async def kill(self, number: int, port: int | None) -> None:
        """Have the server end the statement of a session that is closed here.

        Just to close it would leave the statement to go on at the server, with its locks and its session.

        Args:
            number: The server's number of the session.
            port: What `local_port` returned for it. The driver may have closed it since, on its own.
        """
        with contextlib.suppress(Exception):  # it is a favour to the server, whose own limits end the statement later
            async with self._beside() as connection:
                if await _command(connection, number, port) is not None:
                    await connection.query(f"KILL {number}")

    async def at_work(self, number: int, port: int | None) -> bool:
        """Return whether the server is at a statement of a session; False if it does not say. See `kill`."""
        with contextlib.suppress(Exception):
            async with self._beside() as connection:
                return await _command(connection, number, port) == "Query"
        return False

    @contextlib.asynccontextmanager
    async def _beside(self) -> AsyncIterator[Any]:
        options = {**self._options, "init_command": None, "connect_timeout": CANCEL_SECONDS}
        async with asyncio.timeout(CANCEL_SECONDS):
            connection = await open_connection(**options)
            try:
                yield connection
            finally:
                await say_good_bye(connection)


async def _command(connection: Any, number: int, port: int | None) -> str | None:
    """Return what kind of command a session is at; None: it is gone."""
    # Through a balancer this may be another server, where somebody else has the number.
    await connection.query(_WHOSE % number)
    rows = connection._result.rows  # noqa: SLF001
    return next((command for host, command in rows if port is None or host.endswith(f":{port}")), None)


async def say_good_bye(connection: Any) -> None:
    """Close a connection as the server likes it. TLS takes its time to end; the driver does not wait for it."""
    writer = connection._writer  # noqa: SLF001
    if writer is None:
        return  # the driver has closed it: the other end was gone
    try:
        with contextlib.suppress(OSError):  # some answer by breaking the connection
            await connection.ensure_closed()
            await writer.wait_closed()
    finally:
        connection.close()


def local_port(connection: Any) -> int | None:
    """Return the port that the server sees a connection come from; None for a Unix socket."""
    name = connection._writer.get_extra_info("sockname")  # noqa: SLF001
    return name[1] if isinstance(name, tuple) else None
