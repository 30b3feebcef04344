"""Enqueueing: a batch is whole or absent, whatever its size, and enqueueing it again adds nothing."""

from __future__ import annotations

import asyncio
import functools
import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchConflictError,
    BatchState,
    InvalidBatchError,
    Job,
    JobBatch,
    JobQueue,
    JobStatus,
    Priority,
    Worker,
)
from tests.database.hanging_enqueuer import Order
from tests.harness import batches
from tests.harness.batches import numbered, stream
from tests.harness.observing import all_jobs, finished, running
from tests.harness.processes import next_line, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from tests.harness.observing import Sql


batch = functools.partial(batches.batch, payload=numbered)


async def claimable(queue: JobQueue) -> int:
    depth = (await queue.get_queue_depths()).get("q")
    return depth.ready if depth is not None else 0


@pytest.mark.parametrize("count", [1, 999, 1_000, 1_001, 10_000])
@pytest.mark.every_server
async def test_a_batch_is_stored_as_it_was_given(queue: JobQueue, count: int) -> None:
    batch_id = await queue.enqueue_batch(batch(count))
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.total_jobs, status.pending_jobs) == (BatchState.PENDING, count, count)
    jobs = await all_jobs(queue, batch_id)
    assert [(job.index, job.payload) for job in jobs] == [(n, {"n": n}) for n in range(count)]
    assert {(job.status, job.priority, job.attempts) for job in jobs} == {(JobStatus.PENDING, Priority.NORMAL, 0)}
    assert await claimable(queue) == count


@pytest.mark.parametrize("count", [1_000, 10_000])
async def test_jobs_are_numbered_in_the_order_in_which_they_run(queue: JobQueue, count: int) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("mixed").with_jobs(stream(count)))
    jobs = await all_jobs(queue, batch_id)
    ordered = sorted(stream(count), key=lambda job: -job.priority)
    assert [(job.payload, job.priority) for job in jobs] == [(job.payload, job.priority) for job in ordered]


async def test_a_batch_keeps_its_settings(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(
        batch(3, name="summer").with_metadata("campaign", "süß 🍉").with_suspended(), fingerprint="f1"
    )
    status = await queue.get_batch_status(batch_id)
    assert (status.name, status.queue, status.metadata) == ("summer", "q", {"campaign": "süß 🍉"})
    assert (status.fingerprint, status.suspended) == ("f1", True)
    assert await claimable(queue) == 0


@pytest.mark.every_server
async def test_a_stream_of_any_size_is_stored_in_slices(queue: JobQueue) -> None:
    stored: list[int] = []

    async def progress(jobs: int) -> None:
        stored.append(jobs)
        assert await claimable(queue) == 0, "nothing can be claimed before the whole batch is there"
        (status,) = await queue.list_batches()
        assert (status.state, status.total_jobs) == (BatchState.LOADING, jobs)

    batch_id = await queue.enqueue_stream(JobBatch("big", queue="q"), stream(50_000), progress=progress)
    assert stored == [10_000, 20_000, 30_000, 40_000, 50_000]
    assert await claimable(queue) == 50_000
    jobs = await all_jobs(queue, batch_id)
    assert [job.index for job in jobs] == list(range(50_000))
    assert sorted(job.payload["n"] for job in jobs) == list(range(50_000))
    assert all(job.priority == job.payload["n"] % 5 for job in jobs)


@pytest.mark.every_server
async def test_critical_jobs_at_the_end_of_a_stream_run_before_the_rest_of_it(queue: JobQueue) -> None:
    jobs = [Job("q", n, Priority.CRITICAL if n >= 12_000 else Priority.LOW) for n in range(12_010)]
    batch_id = await queue.enqueue_stream(JobBatch("big", queue="q"), jobs)
    ran: list[int] = []

    async def handler(job: Job) -> None:
        ran.append(job.payload)

    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        await finished(queue, batch_id)
    assert ran == [*range(12_000, 12_010), *range(12_000)]


@pytest.mark.every_server
async def test_async_streams_are_taken_too(queue: JobQueue) -> None:
    async def jobs() -> AsyncIterator[Job]:
        for job in stream(15):
            yield job

    batch_id = await queue.enqueue_stream(JobBatch("async", queue="q"), jobs())
    assert (await queue.get_batch_status(batch_id)).total_jobs == 15


# -- whole or absent


def broken_stream(fault: str) -> Iterator[Job]:
    yield from stream(25_000)
    if fault == "raises":
        raise OSError("the file is gone")
    yield Job("q", object()) if fault == "payload" else Job("other", {})


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("raises", OSError, "the file is gone"),
        ("payload", InvalidBatchError, r"jobs\[25000\]\.payload: not JSON"),
        ("queue", InvalidBatchError, r"jobs\[25000\]\.queue: 'other'"),
    ],
)
@pytest.mark.every_server
async def test_a_fault_at_job_25_000_leaves_nothing_behind(
    queue: JobQueue, sql: Sql, fault: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await queue.enqueue_stream(JobBatch("big", queue="q"), broken_stream(fault))
    assert await sql.stored_rows() == {}


@pytest.mark.parametrize("count", [10, 2_000])
@pytest.mark.every_server
async def test_a_bad_payload_in_a_batch_leaves_nothing_behind(queue: JobQueue, sql: Sql, count: int) -> None:
    bad = batch(count).add_job(Job("q", object(), Priority.CRITICAL))
    with pytest.raises(InvalidBatchError, match=rf"jobs\[{count}\]\.payload: not JSON"):
        await queue.enqueue_batch(bad)
    assert await sql.stored_rows() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (JobBatch("big"), "batch 'big': queue: missing; name it with with_queue()"),
        (JobBatch("big", queue="q"), "batch 'big': jobs: the stream is empty; a batch needs at least one"),
        (batch(3).with_queue("q"), "batch 'mail': jobs: 3 jobs beside the stream; give all jobs in the stream"),
    ],
)
@pytest.mark.every_server
async def test_a_stream_needs_a_queue_and_jobs_of_its_own(
    queue: JobQueue, sql: Sql, settings: JobBatch, message: str
) -> None:
    with pytest.raises(InvalidBatchError) as caught:
        await queue.enqueue_stream(settings, [])
    assert str(caught.value) == message
    assert await sql.stored_rows() == {}


# -- again


@pytest.mark.parametrize("count", [5, 3_000])
@pytest.mark.every_server
async def test_enqueueing_an_id_again_adds_nothing(queue: JobQueue, sql: Sql, count: int) -> None:
    batch_id = uuid.uuid4()
    assert await queue.enqueue_batch(batch(count), batch_id=batch_id, fingerprint="a") == batch_id
    before = await sql.stored_rows()
    assert await queue.enqueue_batch(batch(count), batch_id=batch_id, fingerprint="a") == batch_id
    assert (
        await queue.enqueue_stream(JobBatch("x", queue="q"), stream(9), batch_id=batch_id, fingerprint="a") == batch_id
    )
    assert await sql.stored_rows() == before


@pytest.mark.parametrize("other", ["b", None])
async def test_an_id_with_another_fingerprint_is_a_conflict(queue: JobQueue, sql: Sql, other: str | None) -> None:
    batch_id = await queue.enqueue_batch(batch(5), fingerprint="a")
    before = await sql.stored_rows()
    message = rf"the id {batch_id} is taken by a batch with another content"
    with pytest.raises(BatchConflictError, match=message):
        await queue.enqueue_batch(batch(5), batch_id=batch_id, fingerprint=other)
    with pytest.raises(BatchConflictError, match=message):
        await queue.enqueue_stream(JobBatch("x", queue="q"), stream(9), batch_id=batch_id, fingerprint=other)
    assert await sql.stored_rows() == before


@pytest.mark.parametrize("fingerprint", ["x" * 129, "a\0b"])
async def test_a_fingerprint_has_at_most_128_characters_without_nul(queue: JobQueue, fingerprint: str) -> None:
    message = r"batch 'mail': fingerprint: \d+ characters; at most 128, without NUL"
    with pytest.raises(InvalidBatchError, match=message):
        await queue.enqueue_batch(batch(1), fingerprint=fingerprint)
    with pytest.raises(InvalidBatchError, match=message):
        await queue.enqueue_stream(JobBatch("mail", queue="q"), stream(1), fingerprint=fingerprint)


@pytest.mark.parametrize("hang_in", ["slice", "progress"])
@pytest.mark.every_server
async def test_what_a_killed_enqueuer_began_is_completed_by_the_next(
    queue: JobQueue, database_url: str, hang_in: str
) -> None:
    batch_id = uuid.uuid4()
    async with started("tests.database.hanging_enqueuer", Order(database_url, batch_id, hang_in)) as process:
        assert await next_line(process, within=60) == "hanging"
    status = await queue.get_batch_status(batch_id)
    assert status.state is BatchState.LOADING
    assert await claimable(queue) == 0

    stored: list[int] = []

    async def progress(jobs: int) -> None:
        stored.append(jobs)

    await queue.enqueue_stream(JobBatch("big", queue="q"), stream(50_000), batch_id=batch_id, progress=progress)
    # The stream runs ahead of the database by a slice, which may have been on its way when the process was killed.
    assert stored[0] in ([30_000] if hang_in == "progress" else [20_000, 30_000]), "stored slices are skipped"
    assert stored == list(range(stored[0], 50_001, 10_000))
    jobs = await all_jobs(queue, batch_id)
    assert [job.index for job in jobs] == list(range(50_000))
    assert sorted(job.payload["n"] for job in jobs) == list(range(50_000))
    assert await claimable(queue) == 50_000


@pytest.mark.parametrize("count", [500, 30_000])
async def test_two_enqueuers_of_one_batch_store_each_job_once(queue: JobQueue, database_url: str, count: int) -> None:
    batch_id = uuid.uuid4()

    async def enqueue(own: JobQueue) -> UUID:
        if count <= 10_000:
            return await own.enqueue_batch(batch(count), batch_id=batch_id)
        return await own.enqueue_stream(JobBatch("mail", queue="q"), batch(count).jobs, batch_id=batch_id)

    async with await JobQueue.connect(database_url) as other:
        assert await asyncio.gather(*(enqueue(own) for own in (queue, other, queue, other))) == [batch_id] * 4
    jobs = await all_jobs(queue, batch_id)
    assert [job.payload["n"] for job in jobs] == list(range(count))
    assert await claimable(queue) == count


async def test_a_second_enqueuer_that_fails_leaves_the_batch_of_the_first_alone(queue: JobQueue) -> None:
    batch_id = uuid.uuid4()

    async def slow_and_broken() -> AsyncIterator[Job]:
        yield Job("q", {"n": 0})
        await queue.enqueue_stream(JobBatch("mail", queue="q"), batch(15_000).jobs, batch_id=batch_id)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await queue.enqueue_stream(JobBatch("mail", queue="q"), slow_and_broken(), batch_id=batch_id)
    assert await claimable(queue) == 15_000
    assert (await queue.get_batch_status(batch_id)).state is BatchState.PENDING


@pytest.mark.every_server
async def test_a_longer_stream_cannot_add_to_a_batch_that_is_sealed(queue: JobQueue) -> None:
    batch_id = uuid.uuid4()

    async def overtaken() -> AsyncIterator[Job]:
        for n, job in enumerate(stream(25_000)):
            if n == 5_000:
                await queue.enqueue_stream(JobBatch("mail", queue="q"), stream(10_000), batch_id=batch_id)
            yield job

    with pytest.raises(BatchConflictError, match="another stream with the same id has been loaded"):
        await queue.enqueue_stream(JobBatch("mail", queue="q"), overtaken(), batch_id=batch_id)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.total_jobs, await claimable(queue)) == (BatchState.PENDING, 10_000, 10_000)


async def test_a_batch_can_be_cancelled_while_it_loads(queue: JobQueue) -> None:
    batch_id = uuid.uuid4()

    async def progress(jobs: int) -> None:
        if jobs == 20_000:
            await queue.cancel_batch(batch_id)

    with pytest.raises(BatchConflictError, match="it became Cancelled while its jobs were being loaded"):
        await queue.enqueue_stream(JobBatch("big", queue="q"), stream(50_000), batch_id=batch_id, progress=progress)
    status = await queue.get_batch_status(batch_id)
    assert status.finished
    assert (status.state, status.total_jobs) == (BatchState.CANCELLED, 20_000)
    assert (status.cancelled_jobs, status.pending_jobs) == (20_000, 0)
    assert await claimable(queue) == 0


async def test_a_batch_can_be_deleted_while_it_loads(queue: JobQueue, sql: Sql) -> None:
    batch_id = uuid.uuid4()

    async def progress(jobs: int) -> None:
        if jobs == 20_000:
            assert await queue.delete_batch(batch_id)

    with pytest.raises(BatchConflictError, match="it was deleted while its jobs were being loaded"):
        await queue.enqueue_stream(JobBatch("big", queue="q"), stream(50_000), batch_id=batch_id, progress=progress)
    assert await sql.stored_rows() == {}


# -- payloads


ODD_PAYLOADS: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    1e-300,
    "",
    "Käse 🧀 \u2028 \\ \" ' \n",
    "a NUL: \0",
    [],
    {},
    {"": {"": [None, [[[{}]]]]}},
    {"quote ' and \" and \\": "$1; DROP TABLE hammerwork_jobs; --"},
    "x" * (1024 * 1024 - 2),
]


@pytest.mark.parametrize("copies", [1, 101], ids=["one call", "copy"])
async def test_odd_payloads_reach_the_handler_unchanged(queue: JobQueue, copies: int) -> None:
    payloads = ODD_PAYLOADS[:-1] * copies + ODD_PAYLOADS[-1:]
    batch_id = await queue.enqueue_batch(JobBatch("odd").with_jobs(Job("q", payload) for payload in payloads))
    assert [job.payload for job in await all_jobs(queue, batch_id)] == payloads
    seen: dict[int, Any] = {}

    async def handler(job: Job) -> None:
        seen[job.index] = job.payload

    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    assert [seen[index] for index in range(len(payloads))] == payloads


async def test_payloads_can_be_queried(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(10))
    assert await sql.value(f"SELECT idx FROM hammerwork_jobs WHERE {sql.json_text('payload', 'n')} = '7'") == 7


@pytest.mark.every_server
async def test_large_payloads_go_in_slices_of_bounded_size(queue: JobQueue) -> None:
    text = "x" * 1_000_000
    stored: list[int] = []

    async def progress(jobs: int) -> None:
        stored.append(jobs)

    batch_id = await queue.enqueue_stream(
        JobBatch("large", queue="q"), (Job("q", text) for _ in range(20)), progress=progress
    )
    assert stored == [8, 16, 20]
    assert Counter(len(json.dumps(job.payload)) for job in await all_jobs(queue, batch_id)) == {1_000_002: 20}
