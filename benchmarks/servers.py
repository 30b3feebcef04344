"""Database servers with durable settings, the same ones for every system that is measured on them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import asyncpg

from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.harness.servers.postgres import PostgresServer

POSTGRES_SETTINGS = {
    "shared_buffers": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # No checkpoint falls into one system's run and not into another's.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "1min",
    "deadlock_timeout": "1s",
}
MARIADB_SETTINGS = {
    "innodb_buffer_pool_size": "1G",
    "innodb_log_file_size": "4G",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_flush_method": "fsync",
    "innodb_doublewrite": "1",
}


class UnavailableServerError(Exception):
    """This kind of server cannot be measured here; the message says why."""


class Server(Protocol):
    """A running server."""

    system: str
    """Name of our queue on it, in the results."""
    version: str

    async def fresh_database(self) -> str:
        """Return the URL of a new, empty database."""
        ...

    async def drop_database(self, url: str) -> None:
        """Remove a database and end its connections."""
        ...

    async def settle(self, url: str) -> None:
        """Let the server do what it would do in time on its own: mark rows as visible, renew its statistics."""
        ...


class Postgres:
    """A PostgreSQL server."""

    system = "hammerwork, PostgreSQL"

    def __init__(self, server: PostgresServer, version: str) -> None:
        self._server = server
        self.version = version
        self._databases = 0

    async def fresh_database(self) -> str:
        """Return the URL of a new, empty database."""
        self._databases += 1
        name = f"benchmark_{self._databases}"
        await self._execute(self._server.url(), f"CREATE DATABASE {name}")
        return self._server.url(name)

    async def drop_database(self, url: str) -> None:
        """Remove a database and end its connections."""
        await self._execute(self._server.url(), f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    async def settle(self, url: str) -> None:
        """Vacuum and analyze. No checkpoint: after one, who updates rows writes each page to the WAL in full."""
        await self._execute(url, "VACUUM ANALYZE")

    async def wal_position(self) -> int:
        """Return how many bytes of WAL the server has written so far."""
        async with self.connection(self._server.url()) as connection:
            return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    @contextlib.asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[Any]:
        """Lend a connection."""
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()

    async def _execute(self, url: str, statement: str) -> None:
        async with self.connection(url) as connection:
            await connection.execute(statement, timeout=300)


class MariaDB:
    """A MariaDB server, as `tests/harness/servers/mariadb.py` starts it."""

    system = "hammerwork, MariaDB"

    def __init__(self, server: Any, version: str) -> None:
        self._server = server
        self.version = version
        self._databases = 0

    async def fresh_database(self) -> str:
        """Return the URL of a new, empty database."""
        self._databases += 1
        name = f"benchmark_{self._databases}"
        await self.execute(f"CREATE DATABASE {name}")
        return str(self._server.url(name))

    async def drop_database(self, url: str) -> None:
        """Remove a database."""
        await self.execute(f"DROP DATABASE {url.rpartition('/')[2]}")

    async def settle(self, url: str) -> None:
        """Do nothing: InnoDB renews its statistics as rows come, and has nothing to vacuum after inserts."""

    async def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement outside of any database; return its rows."""
        return await _execute_on_mariadb(self._server.url(""), statement)


async def _execute_on_mariadb(url: str, statement: str) -> list[tuple[Any, ...]]:
    aiomysql = importlib.import_module("aiomysql")  # an extra: only here when MariaDB is measured
    parts = urlsplit(url)
    connection = await aiomysql.connect(
        host=parts.hostname, port=parts.port, user=parts.username, password=parts.password or "", autocommit=True
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
            return list(await cursor.fetchall())
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def started_postgres() -> AsyncIterator[Postgres]:
    """Run a PostgreSQL server for the duration of a block."""
    with postgres_server(POSTGRES_SETTINGS) as server:
        connection = await asyncpg.connect(server.url())
        version = str(await connection.fetchval("SHOW server_version")).partition(" ")[0]
        await connection.close()
        yield Postgres(server, f"PostgreSQL {version}")


@contextlib.asynccontextmanager
async def started_mariadb() -> AsyncIterator[MariaDB]:
    """Run a MariaDB server for the duration of a block.

    Raises:
        UnavailableServerError: The queue has no backend for it, or something is not installed.
    """
    servers = "tests.harness.servers.mariadb"
    for module in ("hammerwork.backends.mysql", "aiomysql", servers):
        if importlib.util.find_spec(module) is None:
            raise UnavailableServerError(f"MariaDB is left out: there is no module {module}")
    mariadb_server: Callable[[dict[str, str]], Any] = importlib.import_module(servers).mariadb_server
    if shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None:
        raise UnavailableServerError("MariaDB is left out: there is no program mariadbd; install mariadb-server")
    with mariadb_server(MARIADB_SETTINGS) as server:
        [(version,)] = await _execute_on_mariadb(server.url(""), "SELECT version()")
        yield MariaDB(server, f"MariaDB {version.partition('-')[0]}")
