"""Values reach the server as literals in the text of statements, and come back as they were."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hammerwork import (
    InvalidBatchError,
    Job,
    JobBatch,
    JobQueue,
    PartialFailureMode,
)
from hammerwork.backends.mysql.connection import Database
from hammerwork.backends.mysql.statements import literal
from hammerwork.backends.mysql.storing import insert_texts
from hammerwork.backends.protocol import Failure, Settled, Settlement
from hammerwork.backends.slices import Slice
from tests.harness.batches import batch
from tests.harness.observing import all_jobs
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.steered import SteeredWorker, run_of

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


_SCALARS = (
    nasty
    | st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_SCALARS, min_size=1, max_size=10))
def test_values_come_back_as_they_went(database_url: str, values: list[Any]) -> None:
    async def there_and_back() -> list[Any]:
        database = await Database.connect(database_url, max_connections=1, connect_timeout=10)
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


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(nasty, min_size=1, max_size=20), keys=st.dictionaries(nasty, nasty, max_size=5))
def test_nasty_texts_are_stored_exactly(database_url: str, texts: list[str], keys: dict[str, str]) -> None:
    async def check(database_url: str) -> None:
        async with await JobQueue.connect(database_url) as queue:
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

    asyncio.run(check(database_url))


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
