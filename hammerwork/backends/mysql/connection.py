"""A pool of connections, retries of what the server rolled back, and the driver's errors in our terms."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import aiomysql
from pymysql.err import Error, InterfaceError, MySQLError

from hammerwork.backends.mysql.pool import Pool
from hammerwork.errors import DatabaseUnavailableError, UnsupportedDatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Row = dict[str, Any]
T = TypeVar("T")

STATEMENT_TIMEOUT_SECONDS = 60.0
"""No statement of ours comes near it; it ends the wait on a connection whose other end is gone."""
WORKER_TIMEOUT_SECONDS = 10.0
"""The same for what workers do all the time: a dead connection must be found out well within a lease."""
MIGRATION_TIMEOUT_SECONDS = 3_600.0

_SESSION = """
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    /*M!100100 max_statement_time = {seconds}, */ /*!80000 max_execution_time = {seconds}000, */
    lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = 5, wait_timeout = {idle}, net_write_timeout = 60,
    group_concat_max_len = {group};
SELECT @@max_allowed_packet
"""
_IDLE_SECONDS = 300
"""The server ends a session that is silent for this long, and with it what its vanished client had locked."""
GROUP_BYTES = 12 * 1024 * 1024
"""Payloads of one claim that come in one piece; below the least max_allowed_packet that servers have by default."""

_DEADLOCK = 1213
_ROLLED_BACK = {
    _DEADLOCK,
    1205,  # lock wait timeout
    1020,  # the row has changed since it was read
}
_ATTEMPTS = 6
_NO_SUCH_TABLE = 1146

_UNAVAILABLE = {
    *(1040, 1203, 1226),  # too many connections, of all or of this user
    *(1042, 1043, 1047, 1053, 1077, 1079, 1080, 1129, 1130, 1152, 1158, 1159, 1160, 1161, 1184),  # connection, shutdown
    *(1044, 1045, 1049, 1698),  # user or database
    *(1290, 1792, 1836),  # read-only, as after a failover
    *(1021, 1037, 1038, 1041, 1114, 1135, 1206),  # disk, memory, threads
    *(1180, 1317, 1927, 1969, 3024, 4031),  # no commit, killed, timed out
    *_ROLLED_BACK,  # still, after all attempts
}
"""Server errors after which the same operation may succeed later."""


class Database:
    """Connections to one MySQL or MariaDB database."""

    def __init__(self, pool: Pool, address: str, options: dict[str, Any]) -> None:
        self._pool = pool
        self._options = options
        self.address = address
        self.max_packet_bytes = 0
        self._has_blocks = False

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open one connection now and up to `max_connections` later."""
        options = connection_options(url)
        options["connect_timeout"] = connect_timeout
        address = f"mysql://{options['host']}:{options['port']}/{options['db']}"
        pool = Pool(max_connections, {**options, "init_command": _session(STATEMENT_TIMEOUT_SECONDS)})
        database = cls(pool, address, options)
        try:
            ((row,),) = await database.run(b"SELECT @@max_allowed_packet AS bytes, VERSION() AS version")
        except BaseException:
            await database.close()
            raise
        database.max_packet_bytes = row["bytes"]
        database._has_blocks = "mariadb" in row["version"].lower()
        return database

    async def close(self) -> None:
        """Close all connections, those in use after a few seconds by force."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, *, within: float = STATEMENT_TIMEOUT_SECONDS) -> AsyncIterator[Connection]:
        """Lend a connection; raises `DatabaseUnavailableError` when there is none or it breaks."""
        with _translated(self.address):
            async with self._pool.lend(within=within) as raw:
                try:
                    yield Connection(raw, within)
                except BaseException as error:
                    # Whatever it was, what the server still does for this connection is not known.
                    raw.close()
                    if isinstance(error, TimeoutError):
                        # The other end may be gone without a word; then all our connections are dead.
                        self._pool.drop_free()
                    raise

    async def run(
        self, text: bytes, *, block: bool = False, within: float = STATEMENT_TIMEOUT_SECONDS
    ) -> list[list[Row]]:
        """Run a text that is one statement or one transaction; return the rows of each statement that has any.

        With `block`, where the server can: as one compound statement, which is answered once instead of once a
        statement. That halves what a transaction of twenty short statements costs on both sides.
        """
        if block and self._has_blocks:
            text = b"BEGIN NOT ATOMIC\n%b;\nEND" % text
        return await self.transact(lambda connection: connection.run(text), within=within)

    async def transact(
        self, operation: Callable[[Connection], Awaitable[T]], *, within: float = STATEMENT_TIMEOUT_SECONDS
    ) -> T:
        """Run the texts of one transaction, again if the server rolls it back because of a conflict with others.

        A broken connection, where nobody knows whether the server had committed, is the caller's business.
        """
        deadline = time.monotonic() + within
        for attempt in itertools.count():
            last = attempt == _ATTEMPTS - 1 or time.monotonic() > deadline
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
        with _translated(self.address):
            raw = await aiomysql.connect(init_command=_session(MIGRATION_TIMEOUT_SECONDS), **self._options)
            try:
                yield Connection(raw, MIGRATION_TIMEOUT_SECONDS)
            finally:
                raw.close()


class Connection:
    """One connection, for one user at a time."""

    def __init__(self, raw: Any, timeout: float) -> None:
        self._raw = raw
        self._timeout = timeout
        self._commits = False

    async def run(self, text: bytes) -> list[list[Row]]:
        """Run one or more statements; return the rows of each one that has any."""
        self._commits = b"COMMIT" in text
        results = []
        async with asyncio.timeout(self._timeout):
            await self._raw.query(text)
            more = True
            while more:
                result = self._raw._result  # noqa: SLF001 (a cursor would ask for the warnings after each text)
                if result.description is not None:
                    names = [column[0] for column in result.description]
                    results.append([dict(zip(names, row, strict=True)) for row in result.rows])
                more = result.has_next
                if more:
                    await self._raw.next_result()
        return results

    async def undo(self, error: MySQLError) -> bool:
        """Roll back after a conflict with others; False if it was no conflict, or came after the commit."""
        code = error.args[0]
        if code not in _ROLLED_BACK:
            return False
        open_still = code == _DEADLOCK or not self._commits
        if not open_still:
            # The server has undone the statement only, so the transaction is open unless it had been committed.
            await self.run(b"DO 0")
            open_still = self._raw.get_transaction_status()
        await self.run(b"ROLLBACK")
        return open_still


def connection_options(url: str) -> dict[str, Any]:
    """Return what aiomysql wants to know of a URL.

    Raises:
        UnsupportedDatabaseError: The URL names no database, or an option that does not exist.
    """
    parts = urlsplit(url)
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise UnsupportedDatabaseError("database URL: names no database; use mysql://user:password@host:port/database")
    query = dict(parse_qsl(parts.query))
    mode = query.pop("ssl_mode", "VERIFY_IDENTITY" if "ssl_ca" in query else "DISABLED").upper()
    ca = query.pop("ssl_ca", None)
    socket = query.pop("unix_socket", None)
    if query:
        raise UnsupportedDatabaseError(
            f"database URL: option {next(iter(query))!r} is unknown; there are ssl_mode, ssl_ca and unix_socket"
        )
    options: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": parts.port or 3306,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or ""),
        "db": database,
        "unix_socket": socket,
        "charset": "utf8mb4",
        "autocommit": True,
        "program_name": "hammerwork",
        "ssl": _tls(mode, ca),
    }
    return options


def _tls(mode: str, ca: str | None) -> ssl.SSLContext | None:
    if mode == "DISABLED":
        return None
    if mode not in {"REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}:
        raise UnsupportedDatabaseError(
            f"database URL: ssl_mode {mode!r} is unknown; it must be DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"
        )
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = mode == "VERIFY_IDENTITY"
    if mode == "REQUIRED":
        context.verify_mode = ssl.CERT_NONE
    return context


def _session(seconds: float) -> str:
    return _SESSION.format(seconds=round(seconds), idle=round(max(_IDLE_SECONDS, seconds)), group=GROUP_BYTES)


@contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError:
        raise
    except Error as error:
        code = error.args[0] if error.args else 0
        if code == _NO_SUCH_TABLE:
            # Whoever enqueues creates the tables; a worker that was there before waits for them.
            raise DatabaseUnavailableError(
                f"database {address}: tables missing or out of date ({_reason(error)}); `hammerwork migrate` makes them"
            ) from error
        # Below 1000: the driver's own complaints, such as "not connected"; from 2000: those of the client library.
        if (
            isinstance(error, InterfaceError)
            or not isinstance(code, int)
            or code in _UNAVAILABLE
            or 2000 <= code < 3000
        ):
            raise DatabaseUnavailableError(f"database {address}: {_reason(error)}") from error
        raise
    except (OSError, TimeoutError) as error:
        raise DatabaseUnavailableError(f"database {address}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    reason = str(error.args[-1] if error.args else "") or type(error).__name__
    return f"{reason} ({error.__cause__})" if error.__cause__ is not None else reason
