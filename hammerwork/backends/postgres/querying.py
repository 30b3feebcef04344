"""A query of the user's: in a read-only transaction of a connection of its own, through a portal."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from hammerwork.backends.drivers import words
from hammerwork.backends.postgres.refusals import translated
from hammerwork.backends.querying import GRACE_SECONDS, Rows, late, made_elsewhere, silent
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
    try:
        with translated(database.address, database.url):
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await _begin(database, connection, timeout, alone)
        yield _rows(database, connection, sql, timeout)
    finally:
        await database.leave(connection)


async def _begin(database: Database, connection: Any, timeout: float, alone: UUID) -> None:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    milliseconds = round(timeout * 1000)
    await connection.execute(_SETUP.format(ms=milliseconds, whole_ms=milliseconds + 60_000))
    if not await connection.fetchval(_ALONE, f"hammerwork {alone}"):
        raise made_elsewhere(database.address, alone)
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=msgspec.json.decode)


async def _rows(database: Database, connection: Any, sql: str, timeout: float) -> AsyncGenerator[dict[str, Any], None]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout + GRACE_SECONDS
    async with _answer(database, connection, timeout, deadline):
        statement = await connection.prepare(sql)
        found = Rows([attribute.name for attribute in statement.get_attributes()])
        cursor = await statement.cursor()
    while True:
        if loop.time() > deadline:
            raise late(timeout)
        async with _answer(database, connection, timeout, deadline):
            rows = await cursor.fetch(found.block)
        for each in found.objects(rows):
            yield each
        if not rows:
            return


@asynccontextmanager
async def _answer(database: Database, connection: Any, timeout: float, deadline: float) -> AsyncIterator[None]:
    with translated(database.address, database.url), _told():
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError:
            raise (late(timeout) if await _answers(connection) else silent(database.address)) from None


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
