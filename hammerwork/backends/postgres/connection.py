"""A pool of connections, and the driver's errors in our terms."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import asyncpg

from hammerwork.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STATEMENT_TIMEOUT_SECONDS = 60.0
"""No statement of ours comes near it; it ends the wait on a connection whose other end is gone."""

WORKER_TIMEOUT_SECONDS = 10.0
"""The same for what workers do all the time: a dead connection must be found out well within a lease."""

ABANDONED_SECONDS = 30.0
"""The server rolls a transaction back whose client has been silent for this long between two statements."""

_TRANSACTION = """
SET LOCAL idle_in_transaction_session_timeout = {milliseconds:d};
SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3
"""
"""A client that vanished would keep what it has locked for hours, by the defaults of servers and of TCP."""

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, a statement cancelled by hand
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


async def _keep_session(_connection: object) -> None:
    """Stand in for asyncpg's session reset, which costs a round trip; we leave nothing in a session."""


class Database:
    """Connections to one PostgreSQL database."""

    def __init__(self, pool: Any, address: str, url: str) -> None:
        self._pool = pool
        self._url = url
        self.address = address

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open one connection now and up to `max_connections` later."""
        parts = urlsplit(url)
        address = f"postgresql://{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
        with translated(address):
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=max_connections,
                timeout=connect_timeout,
                command_timeout=STATEMENT_TIMEOUT_SECONDS,
                reset=_keep_session,
                server_settings={"application_name": "hammerwork"},
            )
        return cls(pool, address, url)

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except (TimeoutError, *_UNAVAILABLE):
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; raises `DatabaseUnavailableError` when there is none or it breaks."""
        with translated(self.address):
            async with self._pool.acquire(timeout=STATEMENT_TIMEOUT_SECONDS) as connection:
                try:
                    yield connection
                except TimeoutError:
                    # The other end may be gone without a word; then all our connections are dead.
                    connection.terminate()
                    await self._pool.expire_connections()
                    raise
                except asyncio.CancelledError:
                    connection.terminate()  # whoever is being cancelled should not wait for the server to agree
                    raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend a connection within a transaction."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(_TRANSACTION.format(milliseconds=round(ABANDONED_SECONDS * 1000)))
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                raise  # the connection ends, and the transaction with it; no answer of the server is waited for
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def dedicated_connection(self) -> Any:
        """Open a connection outside of the pool; the caller closes it."""
        with translated(self.address):
            return await asyncpg.connect(
                self._url, timeout=10, server_settings={"application_name": "hammerwork-listen"}
            )


@contextmanager
def translated(address: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError:
        raise
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
        # Whoever enqueues creates the tables; a worker that was there before waits for them.
        raise DatabaseUnavailableError(
            f"database {address}: tables missing or out of date ({error}); `hammerwork migrate` makes them"
        ) from error
    except _UNAVAILABLE as error:
        reason = str(error) or type(error).__name__
        raise DatabaseUnavailableError(f"database {address}: {reason}") from error
