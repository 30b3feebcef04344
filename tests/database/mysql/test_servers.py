"""Servers of MySQL and MariaDB as they are found: passwords, time limits, read-only ones, other character sets."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchState,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    Job,
    JobBatch,
    JobQueue,
    Worker,
)
from hammerwork.backends import migrating
from hammerwork.timing import SERVER_LOCK_SECONDS, STATEMENT_SECONDS
from tests.harness import observing
from tests.harness.observing import finished, happens, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.observing import Sql
    from tests.harness.servers import Server

pytestmark = [pytest.mark.only("mysql"), pytest.mark.every_server, pytest.mark.administrator]

NAME = "Ünïcødé 🙈"
WORRY = "Ünïcødé 🙈 \U0001f468‍\U0001f469‍\U0001f467"


def database_of(queue: JobQueue) -> Any:
    return queue.backend._database  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def user(sql: Sql, url: str, password: str) -> AsyncIterator[str]:
    """A user with all rights on the database and none on the server; gives the URL without options."""
    name = f"app_{uuid.uuid4().hex[:12]}"
    database = url.rsplit("/", 1)[1]
    # Debian's MariaDB has nameless accounts for localhost, which would be taken instead.
    accounts = [f"{name}@'{host}'" for host in ("%", "localhost")]
    for account in accounts:
        await sql.run(f"CREATE USER {account} IDENTIFIED BY '{password}'")
        await sql.run(f"GRANT ALL ON {database}.* TO {account}")
    try:
        yield url.replace("root@", f"{name}:{password}@")
    finally:
        for account in accounts:
            await sql.run(f"DROP USER {account}")


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED"])
async def test_a_password_is_taken_with_and_without_encryption(database_url: str, sql: Sql, mode: str) -> None:
    """MySQL's kind of account sends it by the server's public key where there is no TLS, unless the server knows it."""
    async with user(sql, database_url, "s3cret") as url:
        for _ in range(2):  # the server remembers the first one
            async with await JobQueue.connect(f"{url}?ssl_mode={mode}") as queue:
                ((row,),) = await database_of(queue).run(b"SHOW STATUS LIKE 'Ssl_cipher'")
                assert mode == "PREFERRED" or not row["Value"]
                await queue.ping()
        with pytest.raises(DatabaseRefusedError, match="Access denied"):
            await JobQueue.connect(f"{url.replace('s3cret', 'wrong')}?ssl_mode={mode}")


async def test_the_server_gives_up_waiting_for_locks_before_its_clients_do(queue: JobQueue) -> None:
    values = "@@lock_wait_timeout AS tables, @@innodb_lock_wait_timeout AS `rows`"
    database = database_of(queue)
    line = await database.line()
    try:
        ((pooled,),) = await database.run(f"SELECT {values}".encode())
        ((lifeline,),) = await line.run(f"SELECT {values}".encode())
    finally:
        await line.close()
    async with database.dedicated_connection() as connection:
        ((migration,),) = await connection.run(f"SELECT {values}".encode())
    assert pooled == lifeline == {"tables": SERVER_LOCK_SECONDS, "rows": SERVER_LOCK_SECONDS}
    assert migration == {"tables": migrating.LOCK_SECONDS, "rows": migrating.LOCK_SECONDS}
    limit = "@@max_statement_time" if database._has_blocks else "@@max_execution_time / 1000"
    ((row,),) = await database.run(f"SELECT {limit} AS seconds".encode())
    assert float(row["seconds"]) == STATEMENT_SECONDS


async def test_a_worker_waits_for_a_server_that_only_reads(
    queue: JobQueue, database_url: str, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover that is not over yet, or on a replica by mistake; not even a heartbeat can be written."""
    runs: list[int] = []
    gate = asyncio.Event()

    async def handler(job: Job) -> None:
        runs.append(job.index)
        await gate.wait()

    batch_id = await queue.enqueue_batch(JobBatch("b").with_batch_size(2).with_jobs(Job("q", n) for n in range(8)))
    async with user(sql, database_url, "s3cret") as url, await JobQueue.connect(url) as own:
        worker = Worker(own, "q", handler, lease_seconds=3.0).with_concurrency(2)
        async with running(worker):
            await happens(lambda: len(runs) == 2)
            await sql.run("SET GLOBAL read_only = 1")
            try:
                gate.set()
                await happens(
                    lambda: "claim and report failed: " in caplog.text and "heartbeat failed: " in caplog.text
                )
                assert "read-only" in caplog.text or "read_only" in caplog.text
                with pytest.raises(DatabaseUnavailableError, match=r"read.only"):
                    await own.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))
                assert (await own.get_batch_status(batch_id)).completed_jobs == 0
            finally:
                await sql.run("SET GLOBAL read_only = 0")
            status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 8)
    assert sorted(runs) == list(range(8)), "none twice: the worker was silent for less than its lease that counts"


async def test_any_character_is_kept_in_a_database_of_another_character_set(server: Server) -> None:
    """The tables name theirs themselves."""
    name = f"test_{uuid.uuid4().hex}"

    async def handler(job: Job) -> None:
        assert job.payload == {WORRY: WORRY}
        raise ValueError(WORRY)

    async with observing.sql(server.url()) as sql:
        await sql.run(f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
        try:
            async with await JobQueue.connect(server.url(name)) as queue:
                await queue.create_tables()
                given = JobBatch(NAME).with_max_attempts(1).with_metadata("key", NAME)
                batch_id = await queue.enqueue_batch(given.with_jobs([Job("q", {WORRY: WORRY})]))
                async with running(Worker(queue, "q", handler, pool=NAME)):
                    status = await finished(queue, batch_id)
                assert (status.name, status.metadata, status.failed_jobs) == (NAME, {"key": NAME}, 1)
                (error,) = await queue.get_batch_errors(batch_id)
                assert error.message == WORRY
                (job,) = await queue.get_batch_jobs(batch_id)
                assert job.payload == {WORRY: WORRY}
                assert [found.batch_id for found in await queue.list_batches(metadata={"key": NAME})] == [batch_id]
        finally:
            await sql.run(f"DROP DATABASE {name}")
