"""A pool of connections, retries of what the server rolled back, and the end of statements that were given up."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from pymysql.err import MySQLError

from hammerwork.backends import migrating
from hammerwork.backends.engines import check_engine
from hammerwork.backends.mysql.ledger import check_version
from hammerwork.backends.mysql.options import connection_options, open_connection
from hammerwork.backends.mysql.refusals import DEADLOCK, OUTDATED, ROLLED_BACK, is_read_only, translated
from hammerwork.backends.mysql.sessions import MysqlSessions, local_port, say_good_bye
from hammerwork.backends.pool import Pool
from hammerwork.backends.urls import parse_url
from hammerwork.errors import DatabaseUnavailableError
from hammerwork.timing import EXCHANGE_SECONDS, SERVER_LOCK_SECONDS, STATEMENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hammerwork.backends.urls import DatabaseURL

Row = dict[str, Any]
T = TypeVar("T")

MIGRATION_TIMEOUT_SECONDS = 3_600.0

_SESSION = """
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    /*M!100100 max_statement_time = {seconds}, */ /*!80000 max_execution_time = {seconds}000, */
    lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}, wait_timeout = {idle}, net_write_timeout = 60,
    group_concat_max_len = {group};
SELECT @@max_allowed_packet
"""
_WHO_ANSWERS = b"SELECT VERSION() AS version, @@version_comment AS comment, @@max_allowed_packet AS bytes"
_IDLE_SECONDS = 300
"""The server ends a session that is silent for this long, and with it what its vanished client had locked."""
_LIFELINE_IDLE_SECONDS = 86_400
_GOOD_BYE_SECONDS = 1.0
GROUP_BYTES = 12 * 1024 * 1024
"""Lists of rows that are kept in a variable; below the least max_allowed_packet that servers have by default."""

_ATTEMPTS = 6


class Database:
    """Connections to one MySQL or MariaDB database."""

    def __init__(self, sessions: MysqlSessions, size: int, url: DatabaseURL, options: dict[str, Any]) -> None:
        self._sessions = sessions
        self._pool = Pool(size, sessions)
        self.url = url
        self._options = options
        self.address = url.address("mysql", port=3306)
        self.max_packet_bytes = 0
        self._has_blocks = False

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open one connection now and up to `max_connections` later."""
        parts = parse_url(url)
        options = {**connection_options(parts), "connect_timeout": connect_timeout}
        # The session is set up after the server has been looked at: another engine would not understand the text.
        with translated(parts.address("mysql", port=3306), parts):
            first = await open_connection(**options)
            try:
                async with asyncio.timeout(connect_timeout):
                    (row,) = (await Connection(first, connect_timeout).run(_WHO_ANSWERS))[0]
            finally:
                await say_good_bye(first)
        sessions = MysqlSessions({**options, "init_command": _session(STATEMENT_SECONDS)})
        database = cls(sessions, max_connections, parts, options)
        check_engine(database.address, row["version"], row["comment"])
        try:
            await database.check_version()
        except BaseException:
            await database.close()
            raise
        database.max_packet_bytes = row["bytes"]
        database._has_blocks = "mariadb" in row["version"].lower()
        return database

    @property
    def sessions(self) -> int:
        """Connections that have been opened so far."""
        return self._pool.opened

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        await self._pool.close()

    async def check_version(self) -> None:
        """Raise `IncompatibleDatabaseError` if only newer versions may work on the database."""
        async with self._lent(EXCHANGE_SECONDS) as connection:
            await check_version(connection, self.address)

    @asynccontextmanager
    async def connection(self, *, within: float = STATEMENT_SECONDS) -> AsyncIterator[Connection]:
        """Lend a connection; raises a `DatabaseError` when there is none or it breaks, or for what the server says."""
        try:
            async with self._lent(within) as connection:
                yield connection
        except DatabaseUnavailableError as error:
            if error.code in OUTDATED:
                await self.check_version()
            raise

    @asynccontextmanager
    async def _lent(self, within: float) -> AsyncIterator[Connection]:
        with translated(self.address, self.url):
            async with self._pool.lend(within=within) as raw:
                connection = Connection(raw, within)
                port = local_port(raw)
                try:
                    yield connection
                except BaseException as error:
                    # Whatever it was, what the server still does for this connection is not known.
                    self._sessions.drop(raw)
                    if connection.running and isinstance(error, TimeoutError | asyncio.CancelledError):
                        self._pool.abandon(raw, self._sessions.kill(raw.thread_id(), port))
                    if isinstance(error, TimeoutError) or is_read_only(error):
                        # The other end may be gone without a word, or a new one has taken its place: then all our
                        # connections lead nowhere.
                        self._pool.drop_free()
                    raise

    async def run(self, text: bytes, *, block: bool = False, within: float = STATEMENT_SECONDS) -> list[list[Row]]:
        """Run a text that is one statement or one transaction; return the rows of each statement that has any.

        With `block`, where the server can: as one compound statement, which is answered once instead of once a
        statement. That halves what a transaction of twenty short statements costs on both sides.
        """
        if block and self._has_blocks:
            text = b"BEGIN NOT ATOMIC\n%b;\nEND" % text
        return await self.transact(lambda connection: connection.run(text), within=within)

    async def transact(
        self, operation: Callable[[Connection], Awaitable[T]], *, within: float = STATEMENT_SECONDS
    ) -> T:
        """Run the texts of one transaction, again if the server rolls it back because of a conflict with others.

        A broken connection, where nobody knows whether the server had committed, is the caller's business.
        """
        deadline = time.monotonic() + within
        for attempt in itertools.count():
            # The server gives up before the caller does, also the last time.
            last = attempt == _ATTEMPTS - 1 or time.monotonic() > deadline - SERVER_LOCK_SECONDS
            async with self.connection(within=within) as connection:
                try:
                    return await operation(connection)
                except MySQLError as error:
                    if last or not await connection.undo(error):
                        raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 (spreading load needs no secrecy)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def dedicated_connection(self) -> AsyncIterator[Connection]:
        """Open a connection outside of the pool, for statements that may take long."""
        with translated(self.address, self.url):
            session = _session(MIGRATION_TIMEOUT_SECONDS, lock=migrating.LOCK_SECONDS)
            raw = await open_connection(init_command=session, **self._options)
            try:
                yield Connection(raw, MIGRATION_TIMEOUT_SECONDS)
            finally:
                self._sessions.drop(raw)

    @asynccontextmanager
    async def for_query(self, seconds: float) -> AsyncIterator[Connection]:
        """Open a connection outside of the pool for one statement that may take so long; it ends with the block."""
        with translated(self.address, self.url):
            async with asyncio.timeout(EXCHANGE_SECONDS):
                times = {**conversions, FIELD_TYPE.TIME: str}
                raw = await open_connection(init_command=_session(seconds), conv=times, **self._options)
        port = local_port(raw)
        try:
            yield Connection(raw, EXCHANGE_SECONDS)
        finally:
            number = raw.thread_id()
            self._sessions.drop(raw)
            await self._sessions.kill(number, port)

    async def at_work(self, number: int, port: int | None) -> bool:
        """Return whether the server is at a statement of the session; False if it does not say."""
        return await self._sessions.at_work(number, port)

    async def line(self) -> Line:
        """Open a connection outside of the pool, in the running event loop; the caller closes it."""
        with translated(self.address, self.url):
            session = _session(STATEMENT_SECONDS, idle=_LIFELINE_IDLE_SECONDS)
            async with asyncio.timeout(EXCHANGE_SECONDS):
                raw = await open_connection(init_command=session, **self._options)
        return Line(raw, self.address, self.url, has_blocks=self._has_blocks)


class Line:
    """A connection for small transactions, one after the other."""

    def __init__(self, raw: Any, address: str, url: DatabaseURL, *, has_blocks: bool) -> None:
        self._raw = raw
        self._writer = raw._writer  # noqa: SLF001
        self.address = address
        self._url = url
        self._has_blocks = has_blocks

    async def run(self, text: bytes, *, block: bool = False) -> list[list[Row]]:
        """Run a text that is one statement or one transaction, as `Database.run` does."""
        if block and self._has_blocks:
            text = b"BEGIN NOT ATOMIC\n%b;\nEND" % text
        connection = Connection(self._raw, EXCHANGE_SECONDS)
        deadline = time.monotonic() + EXCHANGE_SECONDS - SERVER_LOCK_SECONDS
        with translated(self.address, self._url):
            while True:
                try:
                    return await connection.run(text)
                except MySQLError as error:
                    if error.args[0] in OUTDATED:
                        await check_version(connection, self.address)
                    if time.monotonic() > deadline or not await connection.undo(error):
                        raise

    async def close(self) -> None:
        """Close the connection, before its event loop ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOOD_BYE_SECONDS):
                await say_good_bye(self._raw)
        # The driver, which may have closed it before, waits half a minute for the other end of TLS.
        self._writer.transport.abort()


class Connection:
    """One connection, for one user at a time."""

    def __init__(self, raw: Any, timeout: float) -> None:
        self.raw = raw
        self._timeout = timeout
        self._commits = False
        self.running = False
        """Whether the server has not answered the last text, as far as is known here."""

    async def run(self, text: bytes) -> list[list[Row]]:
        """Run one or more statements; return the rows of each one that has any."""
        self._commits = b"COMMIT" in text
        self.running = True
        results = []
        async with asyncio.timeout(self._timeout):
            await self.raw.query(text)
            more = True
            while more:
                result = self.raw._result  # noqa: SLF001 (a cursor would ask for the warnings after each text)
                if result.description is not None:
                    names = [column[0] for column in result.description]
                    results.append([dict(zip(names, row, strict=True)) for row in result.rows])
                more = result.has_next
                if more:
                    await self.raw.next_result()
        self.running = False
        return results

    async def undo(self, error: MySQLError) -> bool:
        """Roll back after a conflict with others; False if it was no conflict, or came after the commit."""
        code = error.args[0]
        if code not in ROLLED_BACK:
            return False
        open_still = code == DEADLOCK or not self._commits
        if not open_still:
            # The server has undone the statement only, so the transaction is open unless it had been committed.
            await self.run(b"DO 0")
            open_still = self.raw.get_transaction_status()
        await self.run(b"ROLLBACK")
        return open_still


def _session(seconds: float, *, lock: float = SERVER_LOCK_SECONDS, idle: float = _IDLE_SECONDS) -> str:
    return _SESSION.format(seconds=round(seconds), lock=round(lock), idle=round(max(idle, seconds)), group=GROUP_BYTES)
