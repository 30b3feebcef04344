"""How tests watch a queue and its database, and wait for what they see there."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import aiomysql
import asyncpg
import pytest

from hammerwork.backends.mysql.options import connection_options, open_connection
from hammerwork.backends.mysql.sessions import say_good_bye
from hammerwork.backends.mysql.statements import literal
from tests.harness.waiting import DEADLINE_SECONDS, eventually, happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from hammerwork import BatchStatus, JobQueue, JobRecord, JobStatus, Worker

__all__ = [
    "DEADLINE_SECONDS",
    "MysqlSql",
    "Sql",
    "all_jobs",
    "comes_to",
    "different_payloads",
    "direct_postgres",
    "eventually",
    "finished",
    "happens",
    "notifying",
    "numbers",
    "one_server",
    "only_postgres",
    "running",
    "sql",
    "with_functions",
]

only_postgres = pytest.mark.only("postgresql")
"""Marks tests of PostgreSQL itself: its options, messages, settings and plans."""
direct_postgres = pytest.mark.only("postgresql", but="pgbouncer")
"""Marks those of users, options and sessions: PgBouncer answers for the server, and keeps its sessions."""
notifying = pytest.mark.capability(notifies=True)
with_functions = pytest.mark.capability(functions=True)
one_server = pytest.mark.one_server
"""Marks tests that do not depend on the kind of database."""


def numbers(count: int) -> str:
    """Return SQL of both families for rows with an ``id`` from 0, at most 100,000 of them."""
    return f"""
        SELECT id FROM (
            WITH RECURSIVE ten(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM ten WHERE n < 9)
            SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n AS id
            FROM ten a, ten b, ten c, ten d, ten e
        ) numbers WHERE id < {count}
    """


async def comes_to(
    queue: JobQueue, batch_id: UUID, until: Callable[[BatchStatus], object], *, within: float = DEADLINE_SECONDS
) -> BatchStatus:
    """Return the status of a batch once something holds of it."""
    return await eventually(lambda: queue.get_batch_status(batch_id), until, within=within)


async def finished(queue: JobQueue, batch_id: UUID, *, within: float = DEADLINE_SECONDS) -> BatchStatus:
    """Return the status of a batch once nothing of it can run any more."""
    return await comes_to(queue, batch_id, lambda status: status.finished, within=within)


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Run workers during a block, then stop them; whatever ends one before is raised."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*tasks)


async def all_jobs(queue: JobQueue, batch_id: UUID, status: JobStatus | None = None) -> list[JobRecord]:
    """Read all jobs of a batch, page by page."""
    jobs: list[JobRecord] = []
    while page := await queue.get_batch_jobs(
        batch_id, status=status, after=jobs[-1].index if jobs else -1, limit=10_000
    ):
        jobs += page
    return jobs


async def different_payloads(url: str) -> int:
    """Count the payloads in a database, those that several jobs have once."""
    async with sql(url) as connection:
        return int(await connection.value(f"SELECT {connection.distinct_payloads} FROM hammerwork_jobs"))


class Sql:
    """A connection of the test's own, for what the library does not show. Parameters are written $1, $2, …"""

    distinct_payloads = "count(DISTINCT CAST(payload AS text))"
    """SQL for a number of different payloads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def value(self, query: str, *args: object) -> Any:
        rows = await self.rows(query, *args)
        return rows[0][0] if rows else None

    async def rows(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(query, *args)]

    async def run(self, query: str, *args: object) -> None:
        await self._connection.execute(query, *args)

    async def stored_rows(self) -> dict[str, int]:
        """Count the rows of each table that holds something of a batch; tables without rows are left out."""
        tables = ["batches", "pages", "ready", "chunks", "claims", "failures"]
        counts = {table: await self.value(f"SELECT count(*) FROM hammerwork_{table}") for table in tables}
        return {table: count for table, count in counts.items() if count}

    async def stored_jobs(self, batch_id: UUID) -> tuple[int, int]:
        """Count the jobs of a batch, and how many different payloads they have."""
        counts = f"SELECT count(*), {self.distinct_payloads} FROM hammerwork_jobs WHERE batch_id = $1"
        ((jobs, payloads),) = await self.rows(counts, batch_id)
        return jobs, payloads

    async def age_worker(self, worker_id: UUID) -> None:
        """Let an hour have passed since the worker's last heartbeat, during which others were heard."""
        await self.run(
            "UPDATE hammerwork_workers SET heartbeat_at = heartbeat_at - INTERVAL '1' HOUR, heard = heard - 3600 "
            "WHERE id = $1",
            worker_id,
        )

    async def age_claims(self) -> None:
        """Let a minute have passed since all claims were taken."""
        await self.run("UPDATE hammerwork_claims SET claimed_at = claimed_at - INTERVAL '1' MINUTE")

    async def upkeep_is_due(self) -> None:
        """Let nobody have done the upkeep for a while."""
        await self.run("UPDATE hammerwork_upkeep SET seen_at = seen_at - INTERVAL '1' MINUTE")

    async def seconds(self) -> float:
        """Return the server's time."""
        return float(await self.value("SELECT extract(epoch FROM clock_timestamp())::float8"))

    async def connections(self) -> list[int]:
        """Return the ids of the library's connections to this database."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'hammerwork%' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in await self.rows(query)]

    async def end_connection(self, number: int) -> None:
        await self.run("SELECT pg_terminate_backend($1)", number)

    async def end_statement(self, number: int) -> None:
        """Break off what the connection is doing."""
        await self.run("SELECT pg_cancel_backend($1)", number)

    async def waiting_for_locks(self, words: str) -> int:
        """Count the statements with these words that wait for a lock of another session."""
        waits = "datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1"
        return int(await self.value(f"SELECT count(*) FROM pg_stat_activity WHERE {waits}", f"%{words}%"))

    async def waiting_for_advisory_locks(self) -> int:
        """Count the sessions that wait for a lock that stands for nothing in the database."""
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return int(
            await self.value(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {here}")
        )

    def json_text(self, column: str, key: str) -> str:
        """Return SQL for a string or number in a JSON object, as text."""
        return f"{column}->>'{key}'"


class MysqlSql(Sql):
    """The same on MySQL and MariaDB."""

    distinct_payloads = "count(DISTINCT CAST(payload AS char))"

    async def rows(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(self._text(query, args))
            return list(await cursor.fetchall())

    async def run(self, query: str, *args: object) -> None:
        await self.rows(query, *args)

    async def seconds(self) -> float:
        return float(await self.value("SELECT UNIX_TIMESTAMP(SYSDATE(6))"))

    async def connections(self) -> list[int]:
        return await self._sessions("id <> CONNECTION_ID()")

    async def _sessions(self, which: str, *args: object) -> list[int]:
        # MySQL warns that this table is to go, and a cursor asks for warnings. The other one is empty unless the server
        # keeps its performance schema.
        query = f"SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND {which}"
        await self._connection.query(self._text(query, args))
        return [number for (number,) in self._connection._result.rows]

    async def end_connection(self, number: int) -> None:
        await self._kill(f"KILL {number}")

    async def end_statement(self, number: int) -> None:
        await self._kill(f"KILL QUERY {number}")

    async def _kill(self, statement: str) -> None:
        with contextlib.suppress(aiomysql.OperationalError):  # it has gone already
            await self.run(statement)

    async def waiting_for_locks(self, words: str) -> int:
        waits = "trx_state = 'LOCK WAIT' AND trx_query LIKE $1"
        transactions = f"SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE {waits}"
        return len(await self._sessions(f"id IN ({transactions})", f"%{words}%"))

    async def waiting_for_advisory_locks(self) -> int:
        return len(await self._sessions("state = 'User lock'"))

    def json_text(self, column: str, key: str) -> str:
        return f"JSON_UNQUOTE(JSON_EXTRACT({column}, '$.{key}'))"

    @staticmethod
    def _text(query: str, args: tuple[object, ...]) -> str:
        return re.sub(r"\$(\d+)", lambda number: literal(args[int(number[1]) - 1]).decode(), query)


@contextlib.asynccontextmanager
async def sql(url: str) -> AsyncIterator[Sql]:
    if not url.startswith("postgres"):
        mysql = await open_connection(**connection_options(url))
        try:
            yield MysqlSql(mysql)
        finally:
            await say_good_bye(mysql)
        return
    connection = await asyncpg.connect(url)
    try:
        yield Sql(connection)
    finally:
        await connection.close()
