"""A pool of connections, and the end of those whose statement nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from hammerwork.backends.engines import check_engine
from hammerwork.backends.postgres.ledger import check_version
from hammerwork.backends.postgres.options import Options, connection_options
from hammerwork.backends.postgres.refusals import OUTDATED, is_read_only, translated
from hammerwork.backends.urls import parse_url
from hammerwork.errors import DatabaseUnavailableError, UnsupportedDatabaseError
from hammerwork.timing import CANCEL_SECONDS, CLOSE_SECONDS, STATEMENT_SECONDS, STEERING_LOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork.backends.urls import DatabaseURL

_LOGGER = logging.getLogger(__name__)

ABANDONED_SECONDS = 30.0
"""The server rolls a transaction back whose client has been silent for this long between two statements."""

_TRANSACTION = """
SET LOCAL lock_timeout = {lock_ms:d}; SET LOCAL idle_in_transaction_session_timeout = {idle_ms:d};
SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3
"""
"""The server gives up waiting for locks before the client does. And a client that vanished would keep what it has
locked for hours, by the defaults of servers and of TCP."""


async def _keep_session(_connection: object) -> None:
    """Stand in for asyncpg's session reset, which costs a round trip; we leave nothing in a session."""


class Database:
    """Connections to one PostgreSQL database."""

    def __init__(self, pool: Any, url: DatabaseURL, options: Options) -> None:
        self._pool = pool
        self.url = url
        self._options = options
        self._leaving: set[asyncio.Task[None]] = set()
        self.address = url.address("postgresql", port=5432)
        self.sessions = 0
        """Connections that have been opened so far."""

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open one connection now and up to `max_connections` later."""
        parts = parse_url(url)
        options = connection_options(parts)

        async def opened(_connection: object) -> None:
            database.sessions += 1

        pool = asyncpg.create_pool(
            **options,
            min_size=1,
            max_size=max_connections,
            timeout=connect_timeout,
            command_timeout=STATEMENT_SECONDS,
            init=opened,
            reset=_keep_session,
            server_settings={"application_name": "hammerwork"},
        )
        database = cls(pool, parts, options)
        with translated(database.address, parts):
            await pool
        try:
            await database._check()
        except BaseException:
            await database.close()
            raise
        return database

    async def _check(self) -> None:
        async with self.connection() as connection:
            version = str(await connection.fetchval("SELECT version()"))
            encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
        check_engine(self.address, version)
        if encoding != "UTF8":
            raise UnsupportedDatabaseError(
                f"database {self.address}: its encoding is {encoding}, but payloads and errors may hold any character; "
                "create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )
        await self.check_version()

    async def check_version(self) -> None:
        """Raise `IncompatibleDatabaseError` if only newer versions may work on the database."""
        async with self._lent() as connection:
            await check_version(connection, self.address)

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except Exception:  # noqa: BLE001 (whatever the driver says: nobody needs the connections any more)
            self._pool.terminate()
        finally:
            for task in self._leaving:
                task.cancel()
            await asyncio.gather(*self._leaving, return_exceptions=True)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; raises a `DatabaseError` when there is none or it breaks, or for what the server says."""
        try:
            async with self._lent() as connection:
                yield connection
        except DatabaseUnavailableError as error:
            if error.code in OUTDATED:
                await self.check_version()
            raise

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Any]:
        with translated(self.address, self.url):
            connection = await self._pool.acquire(timeout=STATEMENT_SECONDS)
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError) as error:
                self._leave(connection)
                if isinstance(error, TimeoutError):
                    # The other end may be gone without a word; then all our connections are dead.
                    await self._pool.expire_connections()
                raise
            except BaseException as error:
                if is_read_only(error):
                    # After a failover; the others lead to the same server, and a new one is sought by new connections.
                    connection.terminate()
                    await self._pool.expire_connections()
                await self._pool.release(connection, timeout=CANCEL_SECONDS)
                raise
            await self._pool.release(connection, timeout=CANCEL_SECONDS)

    def _leave(self, connection: Any) -> None:
        """End a connection whose statement may be running still; nobody waits for that but `close`.

        Just to drop it would leave the statement to go on at the server, with its locks and its session.
        """
        task = asyncio.create_task(_end(connection), name="end an abandoned statement")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend a connection within a transaction."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                lock_ms, idle_ms = round(STEERING_LOCK_SECONDS * 1000), round(ABANDONED_SECONDS * 1000)
                await connection.execute(_TRANSACTION.format(lock_ms=lock_ms, idle_ms=idle_ms))
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                raise  # the connection ends, and the transaction with it; no answer of the server is waited for
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def dedicated_connection(self) -> Any:
        """Open a connection outside of the pool; the caller closes it."""
        with translated(self.address, self.url):
            return await asyncpg.connect(
                **self._options, timeout=10, server_settings={"application_name": "hammerwork-listen"}
            )


async def _end(connection: Any) -> None:
    # The driver has asked for a cancellation when it gave up; closing waits until the server has confirmed that.
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await connection.close()
    except Exception as error:  # noqa: BLE001 (a connection that is given up has nothing to say that matters)
        _LOGGER.debug("an abandoned connection ended with %s", type(error).__name__)
    finally:
        with contextlib.suppress(asyncpg.InterfaceError):  # it has gone back to the pool, closed
            connection.terminate()
