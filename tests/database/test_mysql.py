"""What is particular to MySQL and MariaDB: exact literals, conflicts, privileges, what the server does not have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hammerwork import (
    BatchState,
    DatabaseError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    InvalidBatchError,
    Job,
    JobBatch,
    JobQueue,
    PartialFailureMode,
    RetryPolicy,
    UnsupportedDatabaseError,
    Worker,
)
from hammerwork.backends.mysql.connection import Connection, Database
from hammerwork.backends.mysql.options import connection_options, open_connection
from hammerwork.backends.mysql.statements import literal
from hammerwork.backends.mysql.storing import insert_texts
from hammerwork.backends.protocol import Failure, Settled, Settlement
from hammerwork.backends.slices import Slice
from tests.database.steered import SteeredWorker, run_of
from tests.harness import observing
from tests.harness.observing import all_jobs, eventually, finished, running
from tests.harness.servers.mariadb import mariadb_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from tests.harness.observing import Sql
    from tests.harness.servers import Server
    from tests.harness.servers.mariadb import MariadbServer

NASTY = [
    "",
    "'",
    "\\",
    "\\'",
    "''",
    '"',
    "%s",
    ":queue",
    "; --",
    "/*",
    "\n\r\t\x1a",
    "\0",
    "🧀\u2028",
    "\\0",
    "é" * 300,
]
nasty = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


pytestmark = pytest.mark.only("mysql")


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@contextlib.asynccontextmanager
async def transaction(url: str) -> AsyncIterator[Any]:
    """A cursor whose locks are held during the block."""
    connection = await open_connection(**connection_options(url))
    try:
        await connection.begin()
        async with connection.cursor() as cursor:
            yield cursor
        await connection.rollback()
    finally:
        connection.close()


def database_of(queue: JobQueue) -> Database:
    database: Database = queue.backend._database  # type: ignore[attr-defined]
    return database


def batch(count: int, name: str = "mail") -> JobBatch:
    return JobBatch(name).with_jobs(Job("q", {"n": n}) for n in range(count))


async def status_of(sql: Sql, variable: str) -> int:
    ((_, value),) = await sql.rows("SHOW GLOBAL STATUS LIKE $1", variable)
    return int(value)


async def deadlocks(sql: Sql) -> int:
    """Deadlocks of the whole server since its start."""
    return int(await sql.value("SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"))


async def last_deadlock(sql: Sql) -> str:
    ((_, _, status),) = await sql.rows("SHOW ENGINE INNODB STATUS")
    return str(status).partition("LATEST DETECTED DEADLOCK")[2].partition("\nTRANSACTIONS\n")[0]


def comes_from_skipping(deadlock: str) -> bool:
    """Whether InnoDB makes such a deadlock of SKIP LOCKED, see docs/decisions/002."""
    waits = re.findall(r"WAITING FOR THIS LOCK TO BE GRANTED:\nRECORD LOCKS .* index (\w+) of table", deadlock)
    assert len(waits) == 2, deadlock
    return "SKIP LOCKED" in deadlock or set(waits) == {"hammerwork_chunks_ready"}


# -- literals


_SCALARS = (
    nasty
    | st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_SCALARS, min_size=1, max_size=10))
def test_values_come_back_as_they_went(url: str, values: list[Any]) -> None:
    async def there_and_back() -> list[Any]:
        database = await Database.connect(url, max_connections=1, connect_timeout=10)
        try:
            text = b",".join(b"%b AS c%d" % (literal(value), number) for number, value in enumerate(values))
            ((row,),) = await database.run(b"SELECT " + text)
            return list(row.values())
        finally:
            await database.close()

    for sent, back in zip(values, asyncio.run(there_and_back()), strict=True):
        assert back == sent, (sent, back)


def test_values_without_a_literal_are_refused() -> None:
    with pytest.raises(TypeError, match="Decimal"):
        literal(__import__("decimal").Decimal(1))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(nasty, min_size=1, max_size=20), keys=st.dictionaries(nasty, nasty, max_size=5))
def test_nasty_texts_are_stored_exactly(url: str, texts: list[str], keys: dict[str, str]) -> None:
    async def check(url: str) -> None:
        async with await JobQueue.connect(url) as queue:
            await queue.create_tables()
            wanted = [{"text": text, **keys} for text in texts]
            given_batch = JobBatch("mail").with_jobs(Job("q", payload) for payload in wanted)
            metadata = {key[:63].replace("\0", ""): value.replace("\0", "") for key, value in keys.items()}
            metadata = {key: value for key, value in metadata.items() if key}
            for key, value in metadata.items():
                given_batch.with_metadata(key, value)
            given_batch.with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
            batch_id = await queue.enqueue_batch(given_batch)
            assert [job.payload for job in await all_jobs(queue, batch_id)] == wanted
            assert (await queue.get_batch_status(batch_id)).metadata == metadata
            assert [status.batch_id for status in await queue.list_batches(metadata=metadata)] == [batch_id]
            if metadata:
                other = {key: value + "x" for key, value in metadata.items()}
                assert await queue.list_batches(metadata=other) == []
            worker = SteeredWorker(queue)
            held = await worker.take()
            assert held.claim.payloads == wanted
            stored = [text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in texts]
            failures = [
                Failure(idx=index, attempt=1, final=True, error_type="E" + text, message=text, traceback=text * 3)
                for index, text in enumerate(stored)
            ]
            report = Settlement(claim=held.claim.id, open=len(texts), failed=len(texts), failures=failures)
            assert (await queue.backend.exchange(worker.id, "q", [report], 0)).settled == {held.claim.id: Settled.OK}
            found = [
                (job.error.type, job.error.message, job.error.traceback)
                for job in await all_jobs(queue, batch_id)
                if job.error is not None
            ]
            assert found == [("E" + text, text, text * 3) for text in stored]
            assert {group.type for group in await queue.get_batch_errors(batch_id, limit=100)} == {
                "E" + text for text in stored
            }
            assert await queue.delete_batch(batch_id)

    asyncio.run(check(url))


async def test_long_error_texts_are_kept(queue: JobQueue) -> None:
    worker = SteeredWorker(queue)
    batch_id = await queue.enqueue_batch(batch(1).with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS))
    held = await worker.take()
    failure = Failure(idx=0, attempt=1, final=True, error_type="E", message="🧀" * 1_000, traceback="🧀" * 8_000)
    report = Settlement(claim=held.claim.id, open=1, failed=1, failures=[failure])
    await queue.backend.exchange(worker.id, "q", [report], 0)
    (job,) = await all_jobs(queue, batch_id)
    assert job.error is not None
    assert (job.error.message, job.error.traceback) == ("🧀" * 1_000, "🧀" * 8_000)


async def test_payloads_may_be_nested_deeper_than_the_servers_json_functions_go(queue: JobQueue) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    batch_id = await queue.enqueue_batch(JobBatch("deep").with_jobs([Job("q", deep)]))
    assert [job.payload for job in await all_jobs(queue, batch_id)] == [deep]
    assert (await SteeredWorker(queue).take()).claim.payloads == [deep]


@pytest.mark.parametrize("size", [12_560, 12_582, 12_583, 12_600, 30_000])
async def test_a_claim_has_all_its_payloads_however_long_they_are(queue: JobQueue, size: int) -> None:
    """Some are longer together than what the session lets come in one piece, 12 MiB."""
    payloads = [str(n % 10) + "é" * (size // 2 - 2) + "!" * (size % 2) for n in range(1_000)]
    stored = JobBatch("long", queue="q").with_batch_size(1_000).with_max_attempts(1)
    batch_id = await queue.enqueue_stream(stored, [Job("q", payload) for payload in payloads])
    worker = SteeredWorker(queue)
    while (held := await worker.claim()) is not None:  # in slices of 8 MiB
        assert held.claim.payloads == [payloads[index] for index in held.claim.indexes]
        await worker.end(held, failing=run_of(held))
    assert await queue.retry_failed(batch_id) == 1_000
    held = await worker.take()
    assert held.size == 1_000
    assert held.claim.payloads == payloads


async def test_times_are_utc_whatever_the_server_has(queue: JobQueue) -> None:
    before = datetime.now(UTC)
    status = await queue.get_batch_status(await queue.enqueue_batch(batch(1)))
    assert before - timedelta(seconds=5) < status.created_at < datetime.now(UTC) + timedelta(seconds=5)


async def test_names_differ_by_case(queue: JobQueue) -> None:
    await queue.enqueue_batch(JobBatch("a").with_jobs([Job("Mail", 1)]))
    await queue.enqueue_batch(JobBatch("b").with_jobs([Job("mail", 2)]))
    assert set(await queue.get_queue_depths()) == {"Mail", "mail"}
    assert (await SteeredWorker(queue, "mail").take()).claim.payloads == [2]
    assert await SteeredWorker(queue, "MAIL").claim() is None


@pytest.mark.own_server
async def test_a_server_that_takes_short_packets_only_gets_short_ones() -> None:
    with mariadb_server({"max_allowed_packet": "1M"}) as server:
        async with await JobQueue.connect(server.url()) as queue:
            await queue.create_tables()
            payloads = ["'" * 100_000 for _ in range(40)]
            batch_id = await queue.enqueue_batch(JobBatch("big").with_jobs(Job("q", payload) for payload in payloads))
            assert [job.payload for job in await all_jobs(queue, batch_id)] == payloads
            with pytest.raises(InvalidBatchError, match=r"max_allowed_packet \(1,048,576\) allows; set that to 16M"):
                await queue.enqueue_batch(JobBatch("huge").with_jobs([Job("q", "x" * 1_000_000)]))
            assert len(await queue.list_batches()) == 1


@given(payloads=st.lists(nasty, min_size=1, max_size=40), limit=st.integers(1, 400))
def test_statements_are_cut_at_the_limit(payloads: list[str], limit: int) -> None:
    pages = [(lo, min(lo + 2, 6 + len(payloads))) for lo in range(7, 7 + len(payloads), 3)]
    part = Slice(7, [msgspec.json.encode(payload) for payload in payloads], [], pages)
    head = b"INSERT INTO hammerwork_pages (batch_id, lo, hi, payloads) VALUES "
    rows = []
    for text in insert_texts(uuid.UUID(int=1), part, limit):
        assert text.startswith(head)
        here = text.removeprefix(head)
        assert len(here) <= limit or here.count(b"(x'00000000000000000000000000000001',") == 1
        rows.append(here)
    expected = b",".join(
        b"(%b,%d,%d,%b)" % (literal(uuid.UUID(int=1)), lo, hi, literal(page.decode()))
        for (lo, hi), page in zip(pages, part.texts(), strict=True)
    )
    assert b",".join(rows) == expected


# -- round trips


class Counted:
    """Counts the texts that are sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[bytes] = []
        run = Connection.run

        async def counted(connection: Connection, text: bytes) -> Any:
            self.texts.append(text)
            return await run(connection, text)

        monkeypatch.setattr(Connection, "run", counted)


async def test_few_round_trips(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SteeredWorker(queue)
    counted = Counted(monkeypatch)
    await queue.enqueue_batch(batch(1_000).with_batch_size(1_000))
    assert len(counted.texts) == 1
    held = await worker.take()
    assert held.size == 1_000
    assert len(counted.texts) == 2
    await worker.end(held)
    assert len(counted.texts) == 3
    await queue.enqueue_stream(JobBatch("mail", queue="q"), (Job("q", {"n": n}) for n in range(10_000)))
    assert len(counted.texts) <= 3 + 6, "ten thousand jobs: create, look, lock, insert, append, seal"


# -- conflicts


async def test_a_claim_neither_waits_for_the_batch_nor_locks_it(queue: JobQueue, url: str) -> None:
    await queue.enqueue_batch(batch(10).with_batch_size(5))
    async with transaction(url) as cursor:
        await cursor.execute("SELECT id FROM hammerwork_batches FOR UPDATE")
        async with asyncio.timeout(5):
            await SteeredWorker(queue).take()
    async with transaction(url) as other:
        await other.execute(
            "SELECT ch.id FROM hammerwork_chunks ch WHERE (SELECT b.state = 'Pending' FROM hammerwork_batches b"
            " WHERE b.id = ch.batch_id) LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        async with transaction(url) as cursor:
            await cursor.execute("SELECT id FROM hammerwork_batches FOR UPDATE NOWAIT")
            assert len(await cursor.fetchall()) == 1


async def test_locked_rows_are_told_as_busy(queue: JobQueue, url: str) -> None:
    await queue.enqueue_batch(batch(10))
    async with transaction(url) as cursor:
        await cursor.execute("SELECT id FROM hammerwork_chunks FOR UPDATE")
        exchange = await queue.backend.exchange(uuid.uuid4(), "q", [], 10)
        assert (exchange.claims, exchange.busy) == ([], True)
    exchange = await queue.backend.exchange(uuid.uuid4(), "other", [], 10)
    assert (exchange.claims, exchange.busy) == ([], False)


async def test_a_batch_is_stopped_after_the_claims_that_are_being_taken(queue: JobQueue, url: str, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    async with transaction(url) as cursor:
        await cursor.execute("SELECT queue FROM hammerwork_ready LOCK IN SHARE MODE")  # as a claim does
        cancelling = asyncio.create_task(queue.cancel_batch(batch_id))
        await eventually(lambda: status_of(sql, "Innodb_row_lock_current_waits"), bool)
        assert not cancelling.done()
    status = await cancelling
    assert (status.state, status.cancelled_jobs, status.finished) == (BatchState.CANCELLED, 10, True)
    assert await SteeredWorker(queue).claim() is None


@pytest.mark.administrator
async def test_a_deadlock_is_run_again(queue: JobQueue, url: str, sql: Sql) -> None:
    """Two transactions lock a claim and a batch in opposite order; the server rolls back the one that wrote less."""
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    before = await deadlocks(sql)
    async with transaction(url) as cursor:
        await cursor.execute("UPDATE hammerwork_batches SET name = 'other'")
        # Much written: not to be the victim.
        await cursor.execute(
            "INSERT INTO hammerwork_pages "
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 69) "
            "SELECT x'00000000000000000000000000000001', 70 * a.n + b.n, 70 * a.n + b.n, '1' "
            "FROM numbers a JOIN numbers b"
        )
        ending = asyncio.create_task(worker.end(held))
        await eventually(lambda: status_of(sql, "Innodb_row_lock_current_waits"), bool)
        await cursor.execute("UPDATE hammerwork_claims SET open = open")
    assert await ending is Settled.OK
    assert await deadlocks(sql) > before
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.state) == (10, BatchState.COMPLETED)


@pytest.mark.parametrize("table", ["claims", "chunks", "batches"])
async def test_a_lock_timeout_is_run_again(
    queue: JobQueue, url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    await database_of(queue).run(b"SET SESSION innodb_lock_wait_timeout = 1")  # of the one idle connection
    counted = Counted(monkeypatch)
    async with transaction(url) as cursor:
        await cursor.execute(f"SELECT * FROM hammerwork_{table} FOR UPDATE")
        ending = asyncio.create_task(worker.end(held))

        async def texts() -> list[bytes]:
            return counted.texts

        await eventually(texts, lambda sent: sent.count(b"ROLLBACK") >= 1)
    assert await ending is Settled.OK
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.state) == (10, BatchState.COMPLETED)
    assert await sql.stored_rows() == {"batches": 1, "pages": 1}


@pytest.mark.administrator
async def test_many_workers_meet_no_deadlock_but_of_skipping(queue: JobQueue, url: str, sql: Sql) -> None:
    before = await deadlocks(sql)

    async def handler(job: Job) -> None:
        if job.index % 5 == job.attempt:
            raise ValueError("no")

    async with await JobQueue.connect(url) as other:
        at_once = RetryPolicy(initial_seconds=0, max_seconds=0)
        ids = [await queue.enqueue_batch(batch(1_500).with_batch_size(7).with_retry_policy(at_once)) for _ in range(2)]
        ids += [await queue.enqueue_batch(batch(1_500).with_batch_size(7)) for _ in range(2)]
        workers = [Worker(own, "q", handler).with_concurrency(4) for own in (queue, other) for _ in range(4)]
        async with running(*workers):
            await queue.cancel_batch(ids[2])
            await queue.suspend_batch(ids[0])
            await queue.delete_batch(ids[3])
            await queue.resume_batch(ids[0])
            statuses = [await finished(queue, batch_id) for batch_id in ids[:3]]
    assert [status.completed_jobs for status in statuses[:2]] == [1_500, 1_500]
    if await deadlocks(sql) != before:
        deadlock = await last_deadlock(sql)
        assert comes_from_skipping(deadlock), deadlock


# -- connections


async def test_broken_connections_are_replaced(queue: JobQueue, sql: Sql) -> None:
    await asyncio.gather(*(queue.ping() for _ in range(5)))
    for number in await sql.connections():
        await sql.end_connection(number)

    async def works() -> bool:
        with contextlib.suppress(DatabaseUnavailableError):
            await queue.ping()
            return True
        return False

    await eventually(works, bool, within=10)
    await queue.enqueue_batch(batch(3))


@pytest.mark.administrator
async def test_what_is_wrong_is_told(server: Server) -> None:
    port = server.port
    with pytest.raises(DatabaseUnavailableError, match=r"mysql://127\.0\.0\.1:1/x"):
        await JobQueue.connect("mysql://root:secret@127.0.0.1:1/x", connect_timeout=5)
    with pytest.raises(DatabaseRefusedError, match="Unknown database 'nowhere'"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/nowhere")
    with pytest.raises(DatabaseRefusedError, match="Access denied") as caught:
        await JobQueue.connect(f"mysql://root:secret@127.0.0.1:{port}/mysql")
    assert "secret" not in str(caught.value)
    with pytest.raises(UnsupportedDatabaseError, match="names no database"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}")
    with pytest.raises(UnsupportedDatabaseError, match="option 'charset' is unknown"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/mysql?charset=latin1")
    with pytest.raises(UnsupportedDatabaseError, match="ssl_mode 'MAYBE'"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/mysql?ssl_mode=MAYBE")


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[MariadbServer, str]]:
    """A server with a certificate of its own, and the certificate's path."""
    with tempfile.TemporaryDirectory(prefix="hammerwork-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
                *(
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-keyout",
                    f"{folder}/key.pem",
                    "-out",
                    f"{folder}/cert.pem",
                ),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "key.pem").chmod(0o644)  # the server runs as another user
        with mariadb_server({"ssl_cert": f"{folder}/cert.pem", "ssl_key": f"{folder}/key.pem"}) as server:
            yield server, f"{folder}/cert.pem"


@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ("", True),
        ("?ssl_mode=PREFERRED", True),
        ("?ssl_mode=DISABLED", False),
        ("?ssl_mode=REQUIRED", True),
        ("?ssl_ca={ca}", True),
        ("?ssl_mode=VERIFY_CA&ssl_ca={ca}", True),
    ],
)
async def test_tls(tls_server: tuple[MariadbServer, str], options: str, encrypted: bool) -> None:
    server, certificate = tls_server
    async with await JobQueue.connect(server.url() + options.format(ca=certificate)) as queue:
        ((row,),) = await database_of(queue).run(b"SHOW STATUS LIKE 'Ssl_cipher'")
    assert bool(row["Value"]) is encrypted


async def test_tls_refuses_a_stranger(tls_server: tuple[MariadbServer, str]) -> None:
    server, _ = tls_server
    with pytest.raises(DatabaseRefusedError, match="certificate verify failed"):
        await JobQueue.connect(server.url() + "?ssl_mode=VERIFY_CA")


@pytest.mark.only("mariadb")  # MySQL's server makes itself certificates
@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
async def test_a_server_without_tls_gets_no_password_where_tls_is_demanded(url: str, mode: str) -> None:
    with pytest.raises(DatabaseRefusedError, match="the server offers no TLS"):
        await JobQueue.connect(f"{url}?ssl_mode={mode}")
    async with await JobQueue.connect(f"{url}?ssl_mode=PREFERRED") as queue:
        await queue.ping()


async def test_tables_that_are_missing_are_waited_for(url: str) -> None:
    async with await JobQueue.connect(url) as queue:
        with pytest.raises(DatabaseUnavailableError, match="run `hammerwork migrate` to create or upgrade them"):
            await queue.enqueue_batch(batch(1))


@pytest.mark.own_server
async def test_a_worker_goes_on_after_the_server_was_killed() -> None:
    with mariadb_server() as server:
        async with await JobQueue.connect(server.url(), connect_timeout=2) as queue:
            await queue.create_tables()
            batch_id = await queue.enqueue_batch(batch(300).with_batch_size(10))
            runs = [0] * 300
            halfway = asyncio.Event()

            async def handler(job: Job) -> None:
                runs[job.index] += 1
                await asyncio.sleep(0.005)
                if sum(runs) >= 100:
                    halfway.set()

            async with running(Worker(queue, "q", handler).with_concurrency(4)):
                async with asyncio.timeout(40):
                    await halfway.wait()
                server.stop("immediate")
                server.start()
                status = await finished_in_spite(queue, batch_id)
            assert (status.completed_jobs, status.failed_jobs) == (300, 0)
            assert max(runs) == 1, "nothing ran twice: the worker lived on"


async def finished_in_spite(queue: JobQueue, batch_id: UUID) -> Any:
    async def look() -> Any:
        with contextlib.suppress(DatabaseUnavailableError):
            return await queue.get_batch_status(batch_id)
        return None

    return await eventually(look, lambda status: status is not None and status.finished)


async def test_listening_is_quiet(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    batch_id = await queue.enqueue_batch(batch(10))

    async def handler(job: Job) -> None:
        pass

    with caplog.at_level(logging.WARNING):
        async with running(Worker(queue, "q", handler)):
            await finished(queue, batch_id)
    assert caplog.records == []


# -- tables


async def test_tables_are_made_once_by_many(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(await JobQueue.connect(url)) for _ in range(5)]
        await asyncio.gather(*(queue.create_tables() for queue in queues for _ in range(2)))
        async with observing.sql(url) as sql:
            names = [row[0] for row in await sql.rows("SELECT name FROM hammerwork_migrations ORDER BY name")]
        assert names == ["", "migrations/001_tables.sql", "migrations/002_lost_workers.sql"]


@pytest.mark.administrator
@pytest.mark.filterwarnings("ignore:User .* is referenced as a definer account")
async def test_a_user_needs_no_privilege_but_those_on_the_tables(server: Server, url: str) -> None:
    name = url.rsplit("/", 1)[1]
    user = f"u{uuid.uuid4().hex[:12]}"
    async with observing.sql(server.url()) as root:
        await root.run(f"CREATE USER {user}@'127.0.0.1'")
        await root.run(f"CREATE USER {user}@localhost")
        for host in ("'127.0.0.1'", "localhost"):
            await root.run(
                f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, CREATE VIEW ON {name}.* TO {user}@{host}"
            )
        async with await JobQueue.connect(server.url(name, user=user)) as queue:
            await queue.create_tables()
            done: list[int] = []

            async def handler(job: Job) -> None:
                done.append(job.index)

            batch_id = await queue.enqueue_batch(batch(10))
            async with running(Worker(queue, "q", handler)):
                await finished(queue, batch_id)
            assert sorted(done) == list(range(10))
            assert await queue.delete_batch(batch_id)
        for host in ("'127.0.0.1'", "localhost"):
            await root.run(f"DROP USER {user}@{host}")


async def test_two_settlements_of_one_claim_count_once(queue: JobQueue) -> None:
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    report = Settlement(claim=held.claim.id, open=10, completed=4, remaining=[(4, 9)])
    for _ in range(2):
        assert (await queue.backend.exchange(worker.id, "q", [report], 0)).settled == {held.claim.id: Settled.OK}
    wrong = msgspec.structs.replace(report, completed=5, open=9, remaining=[(9, 9)])
    with pytest.raises(DatabaseError, match="6 are open"):
        await queue.backend.exchange(worker.id, "q", [wrong], 0)
    with pytest.raises(DatabaseError, match="7 outcomes reported for 6 open jobs"):
        await queue.backend.exchange(worker.id, "q", [msgspec.structs.replace(report, completed=7, open=6)], 0)
    stranger = await queue.backend.exchange(uuid.uuid4(), "q", [msgspec.structs.replace(report, open=6)], 0)
    assert stranger.settled == {held.claim.id: Settled.LOST}
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.running_jobs) == (4, 6)
