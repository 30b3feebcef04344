"""Connections: statements that were given up end at the server too, failovers are followed, poolers are lived with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchConflictError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    Job,
    JobBatch,
    JobQueue,
    Worker,
)
from tests.harness import observing
from tests.harness.observing import (
    DEADLINE_SECONDS,
    direct_postgres,
    eventually,
    finished,
    happens,
    only_postgres,
    running,
)
from tests.harness.proxy import proxy
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork.backends.mysql.connection import Connection
    from tests.harness.observing import Sql

only_mariadb = pytest.mark.only("mariadb")
pytestmark = pytest.mark.filterwarnings("ignore:'INFORMATION_SCHEMA.PROCESSLIST' is deprecated")


def database_of(queue: JobQueue) -> Any:
    return queue.backend._database  # type: ignore[attr-defined]


async def wait_at_server(queue: JobQueue, *, seconds: float, text: str = "SELECT * FROM hammerwork_batches") -> None:
    """Run a statement and give it up after some seconds."""
    database = database_of(queue)
    if hasattr(database, "run"):
        await database.run(text.encode(), within=seconds)
        return
    async with database.connection() as connection:
        await connection.fetch(text, timeout=seconds)


@contextlib.asynccontextmanager
async def locked(database_url: str, table: str) -> AsyncIterator[None]:
    """Lock a table against everybody during a block."""
    async with observing.sql(database_url) as sql:
        if database_url.startswith("postgres"):
            await sql.run("BEGIN")
            await sql.run(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            await sql.run("COMMIT")
        else:
            await sql.run(f"LOCK TABLES {table} WRITE")
            yield
            await sql.run("UNLOCK TABLES")


async def statements(sql: Sql, database_url: str) -> int:
    """Count the sessions that run or wait for a statement about the batches' table."""
    if database_url.startswith("postgres"):
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
            "AND query LIKE '%FROM hammerwork_batches%' AND pid <> pg_backend_pid()"
        )
    else:
        query = (
            "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
            "AND info LIKE '%FROM hammerwork_batches%' AND id <> CONNECTION_ID()"
        )
    return int(await sql.value(query))


async def test_sessions_do_not_pile_up_behind_a_lock(database_url: str, queue: JobQueue) -> None:
    most = 0
    async with observing.sql(database_url) as sql, locked(database_url, "hammerwork_batches"):
        async with asyncio.timeout(60):

            async def caller() -> int:
                given_up = 0
                while given_up < 6:
                    with contextlib.suppress(DatabaseUnavailableError):
                        await wait_at_server(queue, seconds=0.3)
                    given_up += 1
                return given_up

            callers = asyncio.gather(*(caller() for _ in range(3)))
            while not callers.done():
                most = max(most, await statements(sql, database_url))
                await asyncio.sleep(0.02)
        assert await callers == [6, 6, 6]
        await eventually(lambda: statements(sql, database_url), lambda count: count == 0)
    # One each, and those whose end is under way; of 18 in all.
    assert 3 <= most <= 12, f"{most} statements at the server for three callers: what was given up goes on"
    await queue.ping()


async def test_a_cancelled_caller_waits_for_nobody_and_its_statement_ends(database_url: str, queue: JobQueue) -> None:
    async with observing.sql(database_url) as sql, locked(database_url, "hammerwork_batches"):
        caller = asyncio.create_task(wait_at_server(queue, seconds=30))
        await eventually(lambda: statements(sql, database_url), lambda count: count == 1)
        caller.cancel()
        turns = 0
        while not caller.done():
            await asyncio.sleep(0)
            turns += 1
        assert caller.cancelled()
        assert turns < 20, "no answer of the server was waited for"
        await eventually(lambda: statements(sql, database_url), lambda count: count == 0)
    await queue.ping()


async def test_closing_waits_for_the_end_of_what_was_given_up(database_url: str, queue: JobQueue) -> None:
    async with observing.sql(database_url) as sql, locked(database_url, "hammerwork_batches"):
        other = await JobQueue.connect(database_url)
        with pytest.raises(DatabaseUnavailableError):
            await wait_at_server(other, seconds=0.2)
        await other.close()
        assert [task.get_name() for task in asyncio.all_tasks() if "abandoned" in task.get_name()] == []
        await eventually(lambda: statements(sql, database_url), lambda count: count == 0)
    await queue.ping()


async def test_a_server_that_answers_no_more_does_not_hold_up_the_end(database_url: str, queue: JobQueue) -> None:
    await queue.ping()
    async with proxy(database_url) as (relay, url):
        other = await JobQueue.connect(url)
        relay.swallow_answers()
        with pytest.raises(DatabaseUnavailableError):
            await wait_at_server(other, seconds=0.2)
        started = time.monotonic()
        await other.close()
        assert time.monotonic() - started < DEADLINE_SECONDS
        assert [task.get_name() for task in asyncio.all_tasks() if "abandoned" in task.get_name()] == []


async def test_a_server_that_takes_connections_and_says_nothing_is_not_waited_for(database_url: str) -> None:
    async with proxy(database_url) as (relay, url):
        relay.hold()
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailableError, match=r"no answer in time$"):
                await JobQueue.connect(url, connect_timeout=0.2)


async def test_closing_again_takes_no_time(database_url: str) -> None:
    queue = await JobQueue.connect(database_url)
    await queue.close()
    closing = asyncio.create_task(queue.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert closing.done(), "it waits for something"


@only_mariadb
async def test_a_session_with_the_same_number_elsewhere_is_spared(
    database_url: str, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a balancer, the request to end a statement may reach a server that knows the number as somebody else's."""
    monkeypatch.setattr("hammerwork.backends.mysql.connection.local_port", lambda _connection: 1)
    async with observing.sql(database_url) as sql, locked(database_url, "hammerwork_batches"):
        with pytest.raises(DatabaseUnavailableError):
            await wait_at_server(queue, seconds=0.2)
        await asyncio.gather(*database_of(queue)._pool._leaving)
        assert await statements(sql, database_url) == 1


# -- failover


@direct_postgres
async def test_a_read_only_server_costs_one_failure_and_its_connections(queue: JobQueue, sql: Sql) -> None:
    # As after a failover: the server that the connections lead to only reads from now on, but new ones get the new one.
    database = database_of(queue)
    async with contextlib.AsyncExitStack() as stack:
        old = [await stack.enter_async_context(database.connection()) for _ in range(4)]
        for connection in old:
            await connection.execute("SET default_transaction_read_only = on")
    failures = []
    for _ in range(20):
        try:
            await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))
        except DatabaseUnavailableError as error:
            failures.append(str(error))
    assert len(failures) == 1
    assert "read-only" in failures[0]
    assert await sql.value("SELECT count(*) FROM hammerwork_batches") == 19


@only_mariadb
async def test_a_read_only_session_is_not_kept(queue: JobQueue, sql: Sql) -> None:
    database = database_of(queue)
    async with contextlib.AsyncExitStack() as stack:
        old: list[Connection] = [await stack.enter_async_context(database.connection()) for _ in range(4)]
        for connection in old:
            await connection.run(b"SET SESSION TRANSACTION READ ONLY")
    failures = []
    for _ in range(20):
        try:
            await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))
        except DatabaseUnavailableError as error:
            failures.append(str(error))
    assert len(failures) == 1
    assert "READ ONLY" in failures[0]
    assert await sql.value("SELECT count(*) FROM hammerwork_batches") == 19


async def test_of_several_hosts_the_one_that_writes_is_taken() -> None:
    with postgres_server({"default_transaction_read_only": "on"}) as reads, postgres_server() as writes:
        url = (
            f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{reads.port},127.0.0.1:{writes.port}/postgres"
            "?target_session_attrs=read-write"
        )
        async with await JobQueue.connect(url) as queue:
            await queue.create_tables()
            await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)]))
            assert str(writes.port) in database_of(queue).address
        async with observing.sql(writes.url()) as sql:
            assert await sql.value("SELECT count(*) FROM hammerwork_batches") == 1


# -- poolers


@only_postgres
async def test_nothing_is_prepared_with_statement_cache_size_0(database_url: str) -> None:
    async with await JobQueue.connect(f"{database_url}?statement_cache_size=0") as queue:
        await queue.create_tables()
        small = await queue.enqueue_batch(JobBatch("small").with_jobs([Job("q", 1)]))
        copied = await queue.enqueue_stream(JobBatch("copied", queue="q"), (Job("q", n) for n in range(12_000)))
        statuses = await queue.get_batch_statuses([small, copied])
        assert [statuses[batch_id].total_jobs for batch_id in (small, copied)] == [1, 12_000]
        async with database_of(queue).connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0


# -- enqueueing again


@pytest.mark.parametrize("stream", [False, True])
async def test_a_batch_enqueued_again_after_its_answer_was_lost_is_stored_once(
    database_url: str, queue: JobQueue, stream: bool
) -> None:
    given = JobBatch("b", queue="q") if stream else JobBatch("b").with_jobs(Job("q", n) for n in range(100))

    async def enqueue(through: JobQueue) -> Any:
        if stream:
            return await through.enqueue_stream(given, (Job("q", n) for n in range(12_000)))
        return await through.enqueue_batch(given)

    async def stored() -> int:
        return sum(status.total_jobs for status in await queue.list_batches(queue="q"))

    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        await own.enqueue_batch(JobBatch("other").with_jobs([Job("other", 1)]))  # what is prepared is prepared
        relay.swallow_answers()
        lost = asyncio.create_task(enqueue(own))
        if not stream:
            await eventually(stored, lambda count: count > 0)
        else:
            await asyncio.sleep(0.1)
        relay.cut()
        relay.go_on()
        with pytest.raises(DatabaseUnavailableError):
            await lost
        assert await enqueue(own) == given.id
    statuses = await queue.list_batches(queue="q")
    assert [(status.batch_id, status.total_jobs) for status in statuses] == [(given.id, 12_000 if stream else 100)]
    if stream:
        with pytest.raises(BatchConflictError, match="was enqueued from a stream before"):
            await enqueue(queue)
    else:
        assert await enqueue(queue) == given.id
        assert len(await queue.list_batches(queue="q")) == 1


@direct_postgres
async def test_a_worker_outlasts_a_database_that_refuses_it_for_a_while(database_url: str, queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(20)))
    async with observing.sql(database_url) as sql:
        await sql.run("CREATE ROLE worker LOGIN SUPERUSER")
        try:
            async with await JobQueue.connect(database_url.replace("postgres@", "worker@")) as own:
                worker = Worker(own, "q", slowly, lease_seconds=6.0).with_concurrency(2)
                async with running(worker):
                    await happens(lambda: worker.busy_lanes)
                    await sql.run("ALTER ROLE worker NOLOGIN")
                    await sql.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'")
                    await eventually(
                        lambda: refusal(own), lambda said: 'role "worker" is not permitted to log in' in said
                    )
                    await happens(lambda: not worker.ready)
                    await sql.run("ALTER ROLE worker LOGIN")
                    assert (await finished(queue, batch_id)).completed_jobs == 20
        finally:
            await sql.run("DROP ROLE worker")


async def refusal(queue: JobQueue) -> str:
    """Return how the database refuses; nothing while a connection is found broken, which the first calls may be."""
    with contextlib.suppress(DatabaseUnavailableError):
        try:
            await queue.ping()
        except DatabaseRefusedError as error:
            return str(error)
    return ""


async def slowly(_job: Job) -> None:
    await asyncio.sleep(0.1)


@pytest.mark.every_server
@pytest.mark.only("pgbouncer")
async def test_a_worker_says_that_a_pooler_keeps_notifications_from_it(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hammerwork.worker")
    line = await queue.backend.lifeline("q", lambda: None)
    await line.close()
    assert not line.notified
    assert "notifications do not arrive, as behind a pooler; workers poll for jobs" in caplog.text
