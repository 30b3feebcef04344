"""Database servers with durable settings, the same ones for every system that is measured on them."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.harness.observing import sql
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness import servers

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


class Server(abc.ABC):
    """A running server, and the databases made in it."""

    system: str
    """Name of our queue on it, in the results."""

    def __init__(self, server: servers.Server, version: str) -> None:
        self.version = version
        self._server = server
        self._databases = 0

    async def fresh_database(self) -> str:
        """Return the URL of a new, empty database."""
        self._databases += 1
        name = f"benchmark_{self._databases}"
        await self._run(f"CREATE DATABASE {name}")
        return self._server.url(name)

    @abc.abstractmethod
    async def drop_database(self, url: str) -> None:
        """Remove a database and end its connections."""

    @abc.abstractmethod
    async def settle(self, url: str) -> None:
        """Let the server do what it would do in time on its own: mark rows as visible, renew its statistics."""

    async def _run(self, statement: str, url: str | None = None) -> None:
        async with sql(url or self._server.url()) as connection:
            await connection.run(statement)


class Postgres(Server):
    """A PostgreSQL server."""

    system = "hammerwork, PostgreSQL"

    async def drop_database(self, url: str) -> None:
        """Remove a database and end its connections."""
        await self._run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    async def settle(self, url: str) -> None:
        """Vacuum and analyze. No checkpoint: after one, who updates rows writes each page to the WAL in full."""
        await self._run("VACUUM ANALYZE", url)

    async def wal_position(self) -> int:
        """Return how many bytes of WAL the server has written so far."""
        async with sql(self._server.url()) as connection:
            return int(await connection.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    @contextlib.asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[Any]:
        """Lend a connection of asyncpg."""
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()


class MariaDB(Server):
    """A MariaDB server."""

    system = "hammerwork, MariaDB"

    async def drop_database(self, url: str) -> None:
        """Remove a database."""
        await self._run(f"DROP DATABASE {url.rpartition('/')[2]}")

    async def settle(self, url: str) -> None:
        """Do nothing: InnoDB renews its statistics as rows come, and has nothing to vacuum after inserts."""


@contextlib.asynccontextmanager
async def started_postgres() -> AsyncIterator[Postgres]:
    """Run a PostgreSQL server for the duration of a block."""
    with postgres_server(POSTGRES_SETTINGS) as server:
        async with sql(server.url()) as connection:
            version = str(await connection.value("SHOW server_version")).partition(" ")[0]
        yield Postgres(server, f"PostgreSQL {version}")


@contextlib.asynccontextmanager
async def started_mariadb() -> AsyncIterator[MariaDB]:
    """Run a MariaDB server for the duration of a block.

    Raises:
        UnavailableServerError: It is not installed.
    """
    with mariadb_server(MARIADB_SETTINGS) as server:
        async with sql(server.url()) as connection:
            version = str(await connection.value("SELECT version()")).partition("-")[0]
        yield MariaDB(server, f"MariaDB {version}")
