"""The database servers of a run, and what their logs may say."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Protocol

from tests.harness.observing import sql
from tests.harness.servers import OwnServer
from tests.harness.servers.daemon import running
from tests.harness.servers.mariadb import MariadbServer
from tests.harness.servers.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.observing import Sql

BACKENDS = ("postgres", "mariadb")


class Server(OwnServer, Protocol):
    """A database server that can be ended in two ways, and lose what it has committed. The calls block."""

    name: str

    async def forget(self) -> None:
        """Let the next crash lose what is committed from now on, as far as the server has not written it by chance."""
        ...

    async def remember(self) -> None:
        """Keep what is committed from now on, as before `forget`."""
        ...

    def faults(self) -> list[str]:
        """Return what the log tells that no chaos explains."""
        ...

    def deadlocks(self) -> int: ...


# What dies with the server or the connection says so.
_POSTGRES_EXPLAINED = re.compile(
    "terminating connection|database system (is|was)|shut ?down|could not (receive|send) data|"
    "connection to client lost|unexpected EOF|canceling statement due to user request|background worker|"
    'incomplete startup packet|invalid length of startup packet|relation "hammerwork_migrations" does not exist'
)


class Postgres(PostgresServer):
    """PostgreSQL. What it has committed survives the death of its processes."""

    name = "postgres"
    _wal_writer: int | None = None
    """The process that `forget` has stopped."""

    def stop(self, mode: str = "fast") -> None:
        if self._wal_writer is not None:
            os.kill(self._wal_writer, signal.SIGKILL if mode == "immediate" else signal.SIGCONT)
            self._wal_writer = None
        super().stop(mode)

    async def forget(self) -> None:
        async with sql(self.url()) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
            self._wal_writer = int(await connection.value(query))
            os.kill(self._wal_writer, signal.SIGSTOP)  # it would write each page of the log as soon as it is full
            await self._alter(connection, "SET synchronous_commit = off")

    async def remember(self) -> None:
        async with sql(self.url()) as connection:
            await self._alter(connection, "RESET synchronous_commit")

    async def _alter(self, connection: Sql, setting: str) -> None:
        await connection.run(f"ALTER SYSTEM {setting}")
        await connection.run("SELECT pg_reload_conf()")  # sessions take it over before their next statement

    def faults(self) -> list[str]:
        lines = [line for line in self.log().splitlines() if re.search(" (ERROR|FATAL|PANIC): ", line)]
        return [line for line in lines if not _POSTGRES_EXPLAINED.search(line)]

    def deadlocks(self) -> int:
        return self.log().count("deadlock detected")


class Mariadb(MariadbServer):
    """MariaDB. What it has committed survives the death of its process."""

    name = "mariadb"

    async def forget(self) -> None:
        await self._set(at_commit=0, timeout=600)

    async def remember(self) -> None:
        await self._set(at_commit=2, timeout=1)

    async def _set(self, *, at_commit: int, timeout: int) -> None:
        async with sql(self.url()) as connection:
            await connection.run(f"SET GLOBAL innodb_flush_log_at_trx_commit = {at_commit}")
            await connection.run(f"SET GLOBAL innodb_flush_log_at_timeout = {timeout}")

    def faults(self) -> list[str]:
        # Aborted connections are warnings. Deadlocks are reported as notes, and are no fault: the library repeats
        # what the server has rolled back.
        return [line for line in self.log().splitlines() if "[ERROR]" in line]

    def deadlocks(self) -> int:
        return self.log().count("Transactions deadlock detected")


@contextlib.contextmanager
def server(name: str) -> Iterator[Server]:
    """Run a server; it keeps what it has committed even if it is killed."""
    if name == "postgres":
        with running(name, lambda folder: Postgres(folder, {"full_page_writes": "on"}), Postgres.create) as postgres:
            yield postgres
    else:
        # 2: written at each commit, so that only the machine's death would lose it; `Mariadb.forget` sets 0.
        settings = {"innodb_flush_log_at_trx_commit": "2", "innodb_doublewrite": "1", "innodb_flush_method": "fsync"}
        with running(name, lambda folder: Mariadb(folder, settings), Mariadb.create) as mariadb:
            yield mariadb
