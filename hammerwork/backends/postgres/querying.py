"""A query of the user's: in a read-only transaction of a connection of its own, through a portal."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from hammerwork.backends.drivers import words
from hammerwork.backends.postgres.flow import FlowControl
from hammerwork.backends.postgres.refusals import translated
from hammerwork.backends.querying import GRACE_SECONDS, MOST_ROWS, late, made_elsewhere, objects, silent, too_large
from hammerwork.errors import QueryError
from hammerwork.timing import CANCEL_SECONDS, EXCHANGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from uuid import UUID

    from hammerwork.backends.postgres.connection import Database

_PASSING = ("08", "25P03", "25P04", "40", "53", "55P03", "57P", "58")
"""Beginnings of the codes after which the same query may succeed later."""

_SETUP = """
SET LOCAL statement_timeout = {ms:d}; SET LOCAL idle_in_transaction_session_timeout = 300000;
SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3;
SET LOCAL intervalstyle = 'iso_8601';
SELECT set_config('transaction_timeout', '{whole_ms:d}', true)
WHERE current_setting('server_version_num')::int >= 170000
"""

# The first query fixes the snapshot, and with it that the transaction only reads: nothing can undo that any more.
_ALONE = "SELECT pg_try_advisory_xact_lock(('x' || left(md5($1), 16))::bit(64)::bigint)"


@asynccontextmanager
async def query(
    database: Database, sql: str, *, timeout: float, alone: UUID
) -> AsyncIterator[AsyncGenerator[dict[str, Any], None]]:
    """See `hammerwork.backends.protocol.Backend.query`."""
    connection = await database.dedicated_connection()
    flow = FlowControl(connection._transport, connection._protocol)  # noqa: SLF001 (the driver has no other way)
    try:
        with translated(database.address, database.url):
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await _begin(database, connection, timeout, alone)
        yield objects(_Answer(database, connection, flow, sql, timeout), timeout)
    finally:
        behind = flow.behind
        flow.drain()
        try:
            if behind:
                await _give_up(connection)
        finally:
            await database.leave(connection)


async def _give_up(connection: Any) -> None:
    """Have the driver ask the server to end what it is at."""
    with suppress(TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
        async with asyncio.timeout(0):
            await connection.execute("SELECT 1")


async def _begin(database: Database, connection: Any, timeout: float, alone: UUID) -> None:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    milliseconds = round(timeout * 1000)
    await connection.execute(_SETUP.format(ms=milliseconds, whole_ms=milliseconds + 60_000))
    if not await connection.fetchval(_ALONE, f"hammerwork {alone}"):
        raise made_elsewhere(database.address, alone)
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=msgspec.json.decode)


class _Answer:
    """See `hammerwork.backends.querying.Answer`."""

    def __init__(self, database: Database, connection: Any, flow: FlowControl, sql: str, timeout: float) -> None:
        self._database = database
        self._connection = connection
        self._flow = flow
        self._sql = sql
        self._timeout = timeout
        self.deadline = asyncio.get_running_loop().time() + timeout + GRACE_SECONDS
        self._cursor: Any = None
        self._count = 1
        self._pending = 0
        """Rows that were asked for and have not come."""

    async def begin(self) -> list[str]:
        async with self._translated():
            statement = await self._connection.prepare(self._sql)
            self._cursor = await statement.cursor()
        return [attribute.name for attribute in statement.get_attributes()]

    async def read(self) -> list[Any]:
        async with self._translated():
            self._flow.ask()
            # The driver's `fetch` would take it for the end that fewer rows come than were asked for.
            rows: list[Any] = await self._cursor._exec(self._count, None)  # noqa: SLF001
        self._pending += self._count - len(rows)
        self._count = max(1, min(MOST_ROWS, 2 * len(rows)) - self._pending)
        return rows

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        with translated(self._database.address, self._database.url), _told():
            try:
                async with asyncio.timeout_at(self.deadline):
                    yield
            except TimeoutError:
                self._flow.drain()
                answers = await _answers(self._connection)
                raise (late(self._timeout) if answers else silent(self._database.address)) from None
            except Exception:
                if self._flow.refused is not None:
                    raise too_large(*self._flow.refused) from None
                raise


async def _answers(connection: Any) -> bool:
    """Return whether the server answers on a connection whose statement was given up; the driver has cancelled that."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await connection.execute("SELECT 1")
    except (TimeoutError, OSError, asyncpg.InterfaceError):
        return False
    except asyncpg.PostgresError as error:
        return not (error.sqlstate or "").startswith("08")
    return True


@contextmanager
def _told() -> Iterator[None]:
    """Raise `QueryError` for what the server says of the query itself."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_PASSING):
            raise
        place = getattr(error, "position", None)
        raise QueryError(f"{words(error)}{f' (at character {place})' if place else ''}") from error
    except (asyncpg.UnsupportedClientFeatureError, asyncpg.DataError, ValueError, OverflowError) as error:
        raise QueryError(f"a value cannot be read: {words(error)}; cast it to text") from error
