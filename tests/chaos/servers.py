"""The database servers of a run, and what their logs may say."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Protocol

from tests.harness.observing import sql
from tests.harness.servers.mariadb import MariadbServer, mariadb_server
from tests.harness.servers.postgres import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.observing import Sql

BACKENDS = ("postgres", "mariadb")


class Server(Protocol):
    """A database server that can be ended in two ways. The calls block."""

    name: str

    @property
    def port(self) -> int: ...
    def url(self, port: int, database: str = ...) -> str: ...
    def stop(self, *, crash: bool) -> None: ...
    def start(self) -> None: ...
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


class Postgres:
    """PostgreSQL. What it has committed survives the death of its processes."""

    name = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._wal_writer: int | None = None
        """The process that `forget` has stopped."""

    @property
    def port(self) -> int:
        return self._server.port

    def url(self, port: int, database: str = "postgres") -> str:
        return self._server.url(database).replace(f":{self._server.port}/", f":{port}/")

    def stop(self, *, crash: bool) -> None:
        if self._wal_writer is not None:
            os.kill(self._wal_writer, signal.SIGKILL if crash else signal.SIGCONT)
            self._wal_writer = None
        self._server.stop("immediate" if crash else "fast")

    def start(self) -> None:
        self._server.start()

    async def forget(self) -> None:
        async with sql(self.url(self.port)) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
            self._wal_writer = int(await connection.value(query))
            os.kill(self._wal_writer, signal.SIGSTOP)  # it would write each page of the log as soon as it is full
            await self._alter(connection, "SET synchronous_commit = off")

    async def remember(self) -> None:
        async with sql(self.url(self.port)) as connection:
            await self._alter(connection, "RESET synchronous_commit")

    async def _alter(self, connection: Sql, setting: str) -> None:
        await connection.run(f"ALTER SYSTEM {setting}")
        await connection.run("SELECT pg_reload_conf()")  # sessions take it over before their next statement

    def _log(self) -> str:
        return (self._server.folder / "log").read_text(errors="replace")

    def faults(self) -> list[str]:
        lines = [line for line in self._log().splitlines() if re.search(" (ERROR|FATAL|PANIC): ", line)]
        return [line for line in lines if not _POSTGRES_EXPLAINED.search(line)]

    def deadlocks(self) -> int:
        return self._log().count("deadlock detected")


class Mariadb:
    """MariaDB. What it has committed survives the death of its process."""

    name = "mariadb"

    def __init__(self, server: MariadbServer) -> None:
        self._server = server

    @property
    def port(self) -> int:
        return self._server.port

    def url(self, port: int, database: str = "test") -> str:
        return self._server.url(database).replace(f":{self._server.port}/", f":{port}/")

    def stop(self, *, crash: bool) -> None:
        self._server.stop("immediate" if crash else "fast")

    def start(self) -> None:
        self._server.start()

    async def forget(self) -> None:
        await self._set(at_commit=0, timeout=600)

    async def remember(self) -> None:
        await self._set(at_commit=2, timeout=1)

    async def _set(self, *, at_commit: int, timeout: int) -> None:
        async with sql(self.url(self.port)) as connection:
            await connection.run(f"SET GLOBAL innodb_flush_log_at_trx_commit = {at_commit}")
            await connection.run(f"SET GLOBAL innodb_flush_log_at_timeout = {timeout}")

    def faults(self) -> list[str]:
        # Aborted connections are warnings. Deadlocks are reported as notes, and are no fault: the library repeats
        # what the server has rolled back.
        return [line for line in self._server.log().splitlines() if "[ERROR]" in line]

    def deadlocks(self) -> int:
        return self._server.log().count("Transactions deadlock detected")


@contextlib.contextmanager
def server(name: str) -> Iterator[Server]:
    """Run a server; it keeps what it has committed even if it is killed."""
    if name == "postgres":
        with postgres_server({"full_page_writes": "on"}) as postgres:
            yield Postgres(postgres)
    else:
        # 2: written at each commit, so that only the machine's death would lose it; `Mariadb.forget` sets 0.
        settings = {"innodb_flush_log_at_trx_commit": "2", "innodb_doublewrite": "1", "innodb_flush_method": "fsync"}
        with mariadb_server(settings) as mariadb:
            yield Mariadb(mariadb)
