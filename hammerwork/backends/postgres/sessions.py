"""asyncpg's connections for the pool: how they are opened and ended, and what is still running in them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import asyncpg

from hammerwork.timing import CANCEL_SECONDS, STATEMENT_SECONDS

if TYPE_CHECKING:
    from hammerwork.backends.postgres.options import Options

_LOGGER = logging.getLogger(__name__)


class PostgresSessions:
    """See `hammerwork.backends.pool.Sessions`.

    Args:
        options: Arguments of the driver's `connect`.
        connect_timeout: Seconds to wait for a connection.
    """

    def __init__(self, options: Options, connect_timeout: float) -> None:
        self._options = options
        self._connect_timeout = connect_timeout

    async def open(self) -> Any:
        return await asyncpg.connect(
            **self._options,
            timeout=self._connect_timeout,
            command_timeout=STATEMENT_SECONDS,
            server_settings={"application_name": "hammerwork"},
        )

    def is_usable(self, connection: Any) -> bool:
        return not (connection.is_closed() or connection.is_in_transaction())

    def drop(self, connection: Any) -> None:
        connection.terminate()

    async def leave(self, connection: Any) -> None:
        """Close a connection; if its statement was given up, after the server has confirmed that it has ended.

        The driver has asked for a cancellation when it gave up. Just to drop the connection would leave the statement
        to go on at the server, with its locks and its session.
        """
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await connection.close()
        except Exception as error:  # noqa: BLE001 (a connection that is given up has nothing to say that matters)
            _LOGGER.debug("an abandoned connection ended with %s", type(error).__name__)
        finally:
            connection.terminate()
