"""A pool of connections, and the end of those whose statement nobody waits for any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from hammerwork.backends.engines import check_engine
from hammerwork.backends.pool import Pool
from hammerwork.backends.postgres.ledger import check_version
from hammerwork.backends.postgres.options import Options, connection_options
from hammerwork.backends.postgres.refusals import OUTDATED, is_read_only, translated
from hammerwork.backends.postgres.sessions import PostgresSessions
from hammerwork.backends.urls import parse_url
from hammerwork.errors import DatabaseUnavailableError, UnsupportedDatabaseError
from hammerwork.timing import STATEMENT_SECONDS, STEERING_LOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork.backends.urls import DatabaseURL

ABANDONED_SECONDS = 30.0
"""The server rolls a transaction back whose client has been silent for this long between two statements."""

_TRANSACTION = """
SET LOCAL lock_timeout = {lock_ms:d}; SET LOCAL idle_in_transaction_session_timeout = {idle_ms:d};
SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3
"""
"""The server gives up waiting for locks before the client does. And a client that vanished would keep what it has
locked for hours, by the defaults of servers and of TCP."""


class Database:
    """Connections to one PostgreSQL database."""

    def __init__(self, sessions: PostgresSessions, size: int, url: DatabaseURL, options: Options) -> None:
        self._sessions = sessions
        self._pool = Pool(size, sessions)
        self.url = url
        self._options = options
        self.address = url.address("postgresql", port=5432)

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open one connection now and up to `max_connections` later."""
        parts = parse_url(url)
        options = connection_options(parts)
        database = cls(PostgresSessions(options, connect_timeout), max_connections, parts, options)
        try:
            await database._check()
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def sessions(self) -> int:
        """Connections that have been opened so far."""
        return self._pool.opened

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
        await self._pool.close()

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
            async with self._pool.lend(within=STATEMENT_SECONDS) as connection:
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError) as error:
                    self._pool.abandon(connection, self._sessions.leave(connection))
                    if isinstance(error, TimeoutError):
                        # The other end may be gone without a word; then all our connections are dead.
                        self._pool.drop_free()
                    raise
                except BaseException as error:
                    if is_read_only(error):
                        # After a failover; the others lead to the same server, and a new one is sought by new ones.
                        connection.terminate()
                        self._pool.drop_free()
                    raise

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

    async def leave(self, connection: Any) -> None:
        """Close a connection that was opened outside of the pool, whatever it is doing."""
        await self._sessions.leave(connection)

    async def dedicated_connection(self) -> Any:
        """Open a connection outside of the pool; the caller closes it."""
        with translated(self.address, self.url):
            return await asyncpg.connect(
                **self._options, timeout=10, server_settings={"application_name": "hammerwork-listen"}
            )
