"""The database servers of a run, and what their logs may say."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Protocol

from tests.harness.servers.mariadb import MariadbServer, mariadb_server
from tests.harness.servers.postgres import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator


BACKENDS = ("postgres", "mariadb")


class Server(Protocol):
    """A database server that can be ended in two ways. The calls block."""

    name: str

    @property
    def port(self) -> int: ...
    def url(self, port: int, database: str = ...) -> str: ...
    def stop(self, *, crash: bool) -> None: ...
    def start(self) -> None: ...
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

    @property
    def port(self) -> int:
        return self._server.port

    def url(self, port: int, database: str = "postgres") -> str:
        return self._server.url(database).replace(f":{self._server.port}/", f":{port}/")

    def stop(self, *, crash: bool) -> None:
        self._server.stop("immediate" if crash else "fast")

    def start(self) -> None:
        self._server.start()

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
        # 2: written at each commit, so that only the machine's death would lose it.
        settings = {"innodb_flush_log_at_trx_commit": "2", "innodb_doublewrite": "1", "innodb_flush_method": "fsync"}
        with mariadb_server(settings) as mariadb:
            yield Mariadb(mariadb)
