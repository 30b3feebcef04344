"""Queries of the user's: read-only, of one snapshot, as a stream; what the server says of a bad one."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from asyncpg.cursor import Cursor

from hammerwork import BatchState, DatabaseUnavailableError, Job, JobBatch, JobQueue, QueryError
from hammerwork.backends.mysql import connection as mysql_connection
from hammerwork.backends.mysql import querying as mysql_querying
from hammerwork.backends.mysql import sessions as mysql_sessions
from hammerwork.backends.postgres import querying as postgres_querying
from hammerwork.backends.postgres import sessions as postgres_sessions
from hammerwork.backends.querying import MOST_ROWS
from tests.harness.observing import DEADLINE_SECONDS, happens, numbers, only_postgres
from tests.harness.processes import next_line, started
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.observing import Sql

MANY = numbers(20_000)
TYPES = {
    "postgresql": """
        SELECT 1.50::numeric(5,2) AS price, 'NaN' AS text, 2::int8 AS big, 0.5::float8 AS half, NULL AS nothing,
            true AS yes,
            '2026-01-31'::date AS day, '2026-01-31 12:00:00.5'::timestamp AS moment,
            '2026-01-31 12:00:00+02'::timestamptz AS instant, '12:30'::time AS clock, '\\x00ff'::bytea AS bytes,
            '{"a": [1, null]}'::jsonb AS json, ARRAY['a', NULL]::text[] AS list,
            '6195d0cf-cb13-8c43-b641-9f5504675122'::uuid AS id, '10.0.0.1'::inet AS address
    """,
    "mysql": """
        SELECT CAST(1.5 AS DECIMAL(5,2)) AS price, 'NaN' AS text, 2 AS big, 5e-1 AS half, NULL AS nothing, TRUE AS yes,
            CAST('2026-01-31' AS DATE) AS day, CAST('2026-01-31 12:00:00.5' AS DATETIME(1)) AS moment,
            CAST('12:30' AS TIME) AS clock, CAST(x'00ff' AS BINARY(2)) AS bytes, b'101' + 0 AS bits
    """,
}
READ: dict[str, dict[str, Any]] = {
    "postgresql": {
        "price": "1.50",
        "text": "NaN",
        "big": 2,
        "half": 0.5,
        "nothing": None,
        "yes": True,
        "day": "2026-01-31",
        "moment": "2026-01-31T12:00:00.500000",
        "instant": "2026-01-31T10:00:00Z",
        "clock": "12:30:00",
        "bytes": "AP8=",
        "json": {"a": [1, None]},
        "list": ["a", None],
        "id": "6195d0cf-cb13-8c43-b641-9f5504675122",
        "address": "10.0.0.1",
    },
    "mysql": {
        "price": "1.50",
        "text": "NaN",
        "big": 2,
        "half": 0.5,
        "nothing": None,
        "yes": 1,
        "day": "2026-01-31",
        "moment": "2026-01-31T12:00:00.500000",
        "clock": "12:30:00",
        "bytes": "AP8=",
        "bits": 5,
    },
}


def family(url: str) -> str:
    return "postgresql" if url.startswith("postgresql") else "mysql"


async def rows(
    queue: JobQueue, sql: str, *, timeout: float = 30, alone: uuid.UUID | None = None
) -> list[dict[str, Any]]:
    async with queue.query(sql, timeout=timeout, alone=alone or uuid.uuid4()) as found:
        return [row async for row in found]


async def refused(queue: JobQueue, sql: str, *, timeout: float = 30) -> str:
    with pytest.raises(QueryError) as caught:
        await rows(queue, sql, timeout=timeout)
    return str(caught.value)


async def test_each_row_is_an_object_of_json(queue: JobQueue, database_url: str) -> None:
    kind = family(database_url)
    assert await rows(queue, TYPES[kind]) == [READ[kind]]
    found = await rows(queue, MANY)
    assert sorted(row["id"] for row in found) == list(range(20_000))
    assert await rows(queue, "-- none\n  (SELECT 1 AS one WHERE 1 = 0)") == []


WRITES = {
    "postgresql": """
        CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$
        BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM hammerwork_batches; RETURN 1; END $$
    """,
    "mysql": "CREATE FUNCTION writes() RETURNS INT BEGIN DELETE FROM hammerwork_batches; RETURN 1; END",
}
NO_QUERY = "must be a query"
REFUSED: list[tuple[str, str, str]] = [
    # What PostgreSQL, and what MySQL and MariaDB say.
    (
        "SELECT 1 AS id, 2 AS id",
        "the column 'id' is there twice; give one of",
        "the column 'id' is there twice; give one",
    ),
    ("SELECT * FROM nowhere", 'relation "nowhere" does not exist (at character 15)', "nowhere"),
    ("SELECT 1; SELECT 2", "multiple commands", "SQL syntax"),
    ("DELETE FROM hammerwork_batches", NO_QUERY, NO_QUERY),
    ("WITH a AS (DELETE FROM hammerwork_batches RETURNING 1) SELECT 1 AS n", "read-only transaction", "SQL syntax"),
    ("/*!50000 DELETE FROM hammerwork_batches */", NO_QUERY, NO_QUERY),
    ("COMMIT", NO_QUERY, NO_QUERY),
    ("SELECT id FROM hammerwork_batches FOR UPDATE", "read-only transaction", "FOR UPDATE is not allowed"),
    ("SELECT id FROM hammerwork_batches FOR SHARE", "read-only transaction", "FOR SHARE is not allowed"),
    ("SELECT id FROM hammerwork_batches LOCK IN SHARE MODE", "syntax error", "LOCK IN is not allowed"),
    ("SELECT 1 AS n INTO OUTFILE '/tmp/never'", "syntax error", "INTO is not allowed"),
    ("SELECT writes()", "transaction read-write mode must be set before", "READ ONLY transaction"),
    ("SELECT", NO_QUERY, "SQL syntax"),
    ("", NO_QUERY, NO_QUERY),
]
HALF_BAD = {
    "postgresql": "SELECT CASE WHEN n = 1500 THEN 'NaN'::float8 ELSE n END AS n FROM generate_series(1, 2000) n",
    "mysql": f"SELECT IF(id = 1499, ST_GeomFromText('POINT(1 1)'), NULL) AS n FROM ({MANY}) m",
}


async def test_what_cannot_be_queried_is_told_in_the_servers_words(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    kind = family(database_url)
    await queue.enqueue_batch(JobBatch("stays").with_jobs([Job("q", 1)]))
    await sql.run(WRITES[kind])
    for query, of_postgres, of_mysql in REFUSED:
        assert (of_postgres if kind == "postgresql" else of_mysql) in await refused(queue, query), query
    told = await refused(queue, HALF_BAD[kind])
    if kind == "postgresql":
        assert told == "row 1,500, column 'n': nan is not JSON; leave the row out, or cast it to text"
        told = await refused(queue, "SELECT '1 month'::interval AS i")
        assert told == "row 1, column 'i': a value of the type timedelta has no form in JSON; cast it to text"
    else:
        assert told == "column 'n': a geometry has no form in JSON; use ST_AsGeoJSON or ST_AsText"
    assert len(await queue.list_batches()) == 1


SLEEP = {"postgresql": "SELECT pg_sleep(60)", "mysql": "SELECT n FROM (SELECT 1 AS n UNION SELECT 2) t WHERE SLEEP(60)"}


async def test_a_query_that_does_not_end_is_ended_by_the_server(queue: JobQueue, database_url: str) -> None:
    told = await refused(queue, SLEEP[family(database_url)], timeout=1)
    assert any(
        words in told for words in ("statement timeout", "max_statement_time", "maximum statement execution time")
    )


async def test_a_connection_that_hangs_is_the_databases_fault_and_not_the_querys(
    queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_querying, mysql_querying, mysql_connection):
        monkeypatch.setattr(module, "EXCHANGE_SECONDS", 2.0)
    for module in (postgres_querying, postgres_sessions, mysql_sessions):
        monkeypatch.setattr(module, "CANCEL_SECONDS", 2.0)
    for module in (postgres_querying, mysql_querying):
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.5)
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own, asyncio.timeout(40):
        counts = [relay.bursts]
        async with own.query("SELECT 1 AS one", timeout=0.5, alone=uuid.uuid4()) as found:
            counts.append(relay.bursts)
            relay.strand()
            with pytest.raises(DatabaseUnavailableError, match="no answer to a query"):
                await anext(found)
        setup = counts[1] - counts[0]
        for burst in (setup, setup - 1):
            limit = relay.bursts + burst

            async def strand(limit: int = limit) -> None:
                if relay.bursts == limit:
                    relay.strand()

            relay.before_burst = strand
            with pytest.raises(DatabaseUnavailableError):
                await rows(own, "SELECT 1 AS one")
            assert relay.bursts >= limit, "it never came so far"
            relay.before_burst = None
        # A server that answers, but does not end the query in time, leaves it to the client.
        for module in (postgres_querying, mysql_querying):
            monkeypatch.setattr(module, "GRACE_SECONDS", -29.5)
        assert "has not ended within 30 seconds" in await refused(queue, SLEEP[family(database_url)])


async def test_the_rows_of_a_batch_are_of_one_snapshot_and_one_process(queue: JobQueue, sql: Sql) -> None:
    """What another process has left half stored is of another snapshot, and goes."""
    batch_id = uuid.uuid4()

    async def jobs(limit: int | None) -> AsyncIterator[Job]:
        async with queue.query(MANY, timeout=30, alone=batch_id) as found:
            count = 0
            async for row in found:
                if count == limit:
                    raise asyncio.CancelledError
                count += 1
                yield Job("q", row)

    with pytest.raises(asyncio.CancelledError):
        await queue.enqueue_stream(JobBatch("rows", queue="q"), jobs(15_000), batch_id=batch_id)
    half = await queue.get_batch_status(batch_id)
    assert (half.state, half.total_jobs) == (BatchState.LOADING, 10_000)
    async with queue.query("SELECT 1 AS one", timeout=30, alone=batch_id):
        with pytest.raises(
            DatabaseUnavailableError, match=f"another process makes the same query for batch {batch_id}"
        ):
            await rows(queue, "SELECT 1 AS one", alone=batch_id)
    one = await rows(queue, "SELECT 1 AS one", alone=batch_id)
    await queue.enqueue_stream(
        JobBatch("rows", queue="q"), [Job("q", row) for row in one], batch_id=batch_id, anew=True
    )
    whole = await queue.get_batch_status(batch_id)
    assert (whole.state, whole.total_jobs) == (BatchState.PENDING, 1)
    assert (await sql.stored_rows())["pages"] == 1
    # Once it is there, it is what it is.
    await queue.enqueue_stream(JobBatch("rows", queue="q"), [Job("q", 1), Job("q", 2)], batch_id=batch_id, anew=True)
    assert (await queue.get_batch_status(batch_id)).total_jobs == 1


async def test_a_query_that_fails_late_leaves_nothing(queue: JobQueue, sql: Sql, database_url: str) -> None:
    late = {
        "postgresql": "SELECT 1 / (15000 - n) AS n FROM generate_series(0, 20000) n",
        "mysql": f"SELECT id, IF(id = 15000, (SELECT 1 UNION SELECT 2), 0) AS n FROM ({MANY}) m ORDER BY id",
    }[family(database_url)]
    batch_id = uuid.uuid4()
    async with queue.query(late, timeout=30, alone=batch_id) as found:
        with pytest.raises(QueryError, match=r"division by zero|more than 1 row"):
            await queue.enqueue_stream(
                JobBatch("rows", queue="q"), (Job("q", row) async for row in found), batch_id=batch_id
            )
    assert await sql.stored_rows() == {}


HUGE = {"postgresql": ["repeat('x', 60000000)"], "mysql": ["repeat('x', 16000000)"] * 4}
"""Columns of a row; a text of MySQL's is not longer."""
MEMORY_MIB = 96
"""About twice what it takes; the huge row as a whole takes more, and so do all the large ones."""


async def test_memory_is_bounded_whatever_a_query_returns(queue: JobQueue, database_url: str) -> None:
    """Many small rows, and then such as payloads may just be, or a huge one; and an error with a huge message."""
    kind = family(database_url)
    columns = ", ".join(f"{value} AS t{number}" for number, value in enumerate(HUGE[kind]))
    small = columns.replace(HUGE[kind][0], "'x'")
    statements = {
        f"SELECT 'x' AS t FROM ({MANY}) m UNION ALL SELECT repeat('x', 1000000) FROM ({MANY}) n WHERE id < 50": "20050",
        f"SELECT {small} FROM ({MANY}) m UNION ALL SELECT {columns}": "row 20,001: at least ",
    }
    if kind == "postgresql":
        statements[f"SELECT {HUGE[kind][0]}::int AS n"] = "a message of the server: at least 60,000,"
    async with started("tests.database.querier", [database_url, *statements]) as process:
        told = [json.loads(await next_line(process, within=120)) for _ in statements]
    for (said, mib), expected in zip(told, statements.values(), strict=True):
        assert str(said).startswith(expected), told
        assert mib < MEMORY_MIB, told
    assert len(await queue.list_batches()) == 2


async def test_large_rows_come_whole_and_in_order(queue: JobQueue, database_url: str) -> None:
    text = f"SELECT id, repeat('x', (id * 7919) % 300000) AS text FROM ({MANY}) m WHERE id < 120 ORDER BY id"
    found = await rows(queue, text)
    assert [(row["id"], len(row["text"])) for row in found] == [(n, n * 7919 % 300_000) for n in range(120)]
    async with queue.query(text, timeout=30, alone=uuid.uuid4()) as taken:
        assert (await anext(taken))["id"] == 0
        assert (await anext(taken))["id"] == 1
    failing = {
        "postgresql": text.replace("id, ", "id, 1 / (id - 100) AS n, ", 1),
        "mysql": text.replace("id, ", "id, IF(id = 100, (SELECT 1 UNION SELECT 2), 0) AS n, ", 1),
    }[family(database_url)]
    told = await refused(queue, failing)
    assert "division by zero" in told or "more than 1 row" in told


@pytest.mark.usefixtures("queue")
async def test_who_is_cancelled_while_rows_come_does_not_wait_for_the_servers_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_sessions, mysql_sessions):
        monkeypatch.setattr(module, "CANCEL_SECONDS", 2 * DEADLINE_SECONDS)
    text = f"SELECT repeat('x', 100000) AS text FROM ({MANY}) m WHERE id < 100"
    async with (
        proxy(database_url) as (relay, url),
        await JobQueue.connect(url) as own,
        asyncio.timeout(DEADLINE_SECONDS),
        own.query(text, timeout=60, alone=uuid.uuid4()) as found,
    ):
        for _ in range(7):
            await anext(found)
        # The server sends the next eight at once; they come little by little.
        relay.bytes_per_second = 500_000
        asked = relay.bursts
        reading = asyncio.ensure_future(anext(found))
        if family(database_url) == "postgresql":
            await happens(lambda: relay.bursts > asked)
        await asyncio.sleep(0.3)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@only_postgres
async def test_as_many_rows_are_asked_for_as_are_read_at_a_time(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what is asked for and not read, the server's log has a line each when a query ends early."""
    asked = []
    given = Cursor._exec

    async def execute(self: Cursor, count: int, timeout: float | None) -> Any:
        asked.append(count)
        return await given(self, count, timeout)

    monkeypatch.setattr(Cursor, "_exec", execute)
    found = await rows(queue, f"SELECT repeat('x', 1000) AS text FROM ({MANY}) m WHERE id < 10000")
    assert len(found) == 10_000
    assert sum(asked) <= 10_000 + MOST_ROWS
