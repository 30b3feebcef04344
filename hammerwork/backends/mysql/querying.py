"""A query of the user's: in a read-only transaction of a connection of its own, row by row."""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiomysql
import msgspec
from pymysql.constants import COMMAND, FIELD_TYPE
from pymysql.err import MySQLError

from hammerwork.backends.drivers import words
from hammerwork.backends.mysql.permitted import check_permitted
from hammerwork.backends.mysql.refusals import is_passing, translated
from hammerwork.backends.mysql.sessions import local_port
from hammerwork.backends.querying import (
    BLOCK_BYTES,
    GRACE_SECONDS,
    MAX_ROW_BYTES,
    MOST_ROWS,
    late,
    made_elsewhere,
    objects,
    silent,
    too_large,
)
from hammerwork.errors import QueryError
from hammerwork.timing import EXCHANGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
    from uuid import UUID

    from hammerwork.backends.mysql.connection import Database

_OF_THE_QUERY = {1792, 1969, 3024}
"""Codes that pass elsewhere: it wants to write, or takes too long."""
_GEOMETRY = 255

_SETUP = """
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET SESSION net_write_timeout = 600;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;
SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), ' hammerwork {alone}'), 256), 0) AS alone
"""
_ONE_STATEMENT = b"\x01\x00"

_BEFORE = re.compile(r"(?:\s|\(|--[ \t][^\n]*(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*(?![!M]).*?\*/)*", re.DOTALL)
_QUERY = re.compile(r"(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
"""What a procedure does, which CALL would run, is not held by the transaction: it may commit."""


@asynccontextmanager
async def query(
    database: Database, sql: str, *, timeout: float, alone: UUID
) -> AsyncIterator[AsyncGenerator[dict[str, Any], None]]:
    """See `hammerwork.backends.protocol.Backend.query`."""
    start = _BEFORE.match(sql)
    if not _QUERY.match(sql, start.end() if start else 0):
        raise QueryError("the statement must be a query that begins with SELECT, WITH, VALUES or TABLE")
    check_permitted(sql)
    async with database.for_query(math.ceil(timeout)) as connection:
        with translated(database.address, database.url):
            (taken,) = (await connection.run(_SETUP.format(alone=alone).encode()))[-1]
            if not taken["alone"]:
                raise made_elsewhere(database.address, alone)
            raw = connection.raw
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await raw._execute_command(COMMAND.COM_SET_OPTION, _ONE_STATEMENT)  # noqa: SLF001 (the driver has no call)
                await raw._read_packet()  # noqa: SLF001
        yield objects(_Answer(database, raw, sql, timeout), timeout)


class _Answer:
    """See `hammerwork.backends.querying.Answer`."""

    def __init__(self, database: Database, raw: Any, sql: str, timeout: float) -> None:
        self._database = database
        self._raw = raw
        self._sql = sql
        self._timeout = timeout
        self.deadline = asyncio.get_running_loop().time() + timeout + GRACE_SECONDS
        self._number, self._port = raw.thread_id(), local_port(raw)
        self._cursor: Any = None
        self._kinds: list[tuple[int, int]] = []
        self._rows = self._bytes = 0
        self._read_bytes = raw._read_bytes  # noqa: SLF001 (the driver has no limit)
        raw._read_bytes = self._read_some  # noqa: SLF001

    async def _read_some(self, size: int) -> bytes:
        """Read a part of the answer; a packet's size is known before the packet is read."""
        if size > MAX_ROW_BYTES:
            raise too_large(self._rows + 1 if self._cursor is not None else 0, size)
        self._bytes += size
        data: bytes = await self._read_bytes(size)
        return data

    async def begin(self) -> list[str]:
        async with self._translated():
            # Never closed: that would read all rows to the end.
            cursor = await self._raw.cursor(aiomysql.SSCursor)
            await cursor.execute(self._sql)
        self._cursor = cursor
        self._kinds = _kinds(cursor.description or ())
        return [column[0] for column in cursor.description or ()]

    async def read(self) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = []
        self._bytes = 0
        async with self._translated():
            while len(rows) < MOST_ROWS and self._bytes < BLOCK_BYTES:
                row = await self._cursor.fetchone()
                if row is None:
                    break
                self._rows += 1
                rows.append(_read(row, self._kinds) if self._kinds else row)
        return rows

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        with translated(self._database.address, self._database.url), _told():
            try:
                async with asyncio.timeout_at(self.deadline):
                    yield
            except TimeoutError:
                at_work = await self._database.at_work(self._number, self._port)
                raise (late(self._timeout) if at_work else silent(self._database.address)) from None


def _kinds(description: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
    """Return position and type of the columns whose values the driver leaves as they are."""
    kinds = [(position, column[1]) for position, column in enumerate(description)]
    for position, kind in kinds:
        if kind == _GEOMETRY:
            name = description[position][0]
            raise QueryError(f"column {name!r}: a geometry has no form in JSON; use ST_AsGeoJSON or ST_AsText")
    return [(position, kind) for position, kind in kinds if kind in {FIELD_TYPE.JSON, FIELD_TYPE.BIT}]


def _read(row: Sequence[Any], kinds: list[tuple[int, int]]) -> list[Any]:
    values = list(row)
    for position, kind in kinds:
        if (value := values[position]) is not None:
            values[position] = msgspec.json.decode(value) if kind == FIELD_TYPE.JSON else int.from_bytes(value, "big")
    return values


@contextmanager
def _told() -> Iterator[None]:
    """Raise `QueryError` for what the server says of the query itself."""
    try:
        yield
    except MySQLError as error:
        code = error.args[0] if error.args else None
        if code not in _OF_THE_QUERY and is_passing(error):
            raise
        raise QueryError(words(error)) from error
