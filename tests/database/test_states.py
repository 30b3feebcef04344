"""What was cut off in the middle, batches half loaded, half deleted, half retried; and batches beside each other."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    BatchConflictError,
    BatchNotFoundError,
    BatchState,
    Job,
    JobBatch,
    JobStatus,
    PartialFailureMode,
    RetryPolicy,
    RetryStrategy,
    Worker,
)
from hammerwork.backends.upkeep import UNFINISHED_BATCHES
from tests.harness.batches import AT_ONCE, batch
from tests.harness.observing import all_jobs, finished, running
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hammerwork import JobQueue
    from tests.harness.observing import Sql


class BrokenStreamError(Exception):
    pass


def broken(count: int) -> Iterator[Job]:
    yield from (Job("q", n) for n in range(count))
    raise BrokenStreamError


async def claim_all(queue: JobQueue) -> list[int]:
    """Take everything there is to take, and complete it."""
    worker = SteeredWorker(queue)
    await worker.register()
    taken: list[int] = []
    while (held := await worker.claim()) is not None:
        taken += run_of(held)
        await worker.end(held)
    return sorted(taken)


async def test_a_batch_that_was_cancelled_while_it_loaded_is_not_taken_for_stored(queue: JobQueue) -> None:
    batch_id = uuid.uuid4()
    big = JobBatch("big", queue="q")

    async def cancel(_stored: int) -> None:
        await queue.cancel_batch(batch_id)

    for _ in range(2):
        with pytest.raises(BatchConflictError, match=r"became Cancelled while .* only some of them are stored"):
            await queue.enqueue_stream(big, (Job("q", n) for n in range(25_000)), batch_id=batch_id, progress=cancel)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.total_jobs, status.finished) == (BatchState.CANCELLED, 10_000, True)
    assert await queue.delete_batch(batch_id)
    await queue.enqueue_stream(big, (Job("q", n) for n in range(25_000)), batch_id=batch_id)
    assert await claim_all(queue) == list(range(25_000))


async def test_an_abandoned_batch_whose_removal_was_cut_off_is_stored_anew(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = uuid.uuid4()
    big = JobBatch("big", queue="q")

    async def cut_off(*_args: object) -> bool:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(queue.backend.tables, "delete_slice", cut_off)  # type: ignore[attr-defined]
        with pytest.raises(ConnectionResetError):
            await queue.enqueue_stream(big, broken(15_000), batch_id=batch_id)
    assert await sql.value("SELECT state FROM hammerwork_batches") == "Abandoned"
    with pytest.raises(BatchNotFoundError):
        await queue.get_batch_status(batch_id)
    await queue.enqueue_stream(big, (Job("q", n) for n in range(100)), batch_id=batch_id)
    assert await claim_all(queue) == list(range(100))


async def test_nothing_brings_a_batch_back_that_is_being_deleted(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(10).with_max_attempts(1))
    worker = SteeredWorker(queue)
    await worker.register()
    await worker.end(await worker.take(), failing=[3])
    held_id = await queue.enqueue_batch(batch(5))
    held = await worker.take()
    for deleted in (batch_id, held_id):
        assert await queue.backend.tables.begin_deletion(deleted, "Deleting")  # type: ignore[attr-defined]
        for call in (queue.retry_failed, queue.suspend_batch, queue.resume_batch, queue.get_batch_status):
            with pytest.raises(BatchNotFoundError):
                await call(deleted)
        with pytest.raises(BatchNotFoundError):
            await queue.cancel_batch(deleted)
    assert await queue.list_batches() == []
    held.release_waiting()
    await worker.report(held)
    assert await worker.claim() is None
    await sql.upkeep_is_due()
    await queue.backend.upkeep(1.0)
    assert await sql.stored_rows() == {}


async def test_a_retry_that_was_cut_off_is_completed_by_the_upkeep(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(100).with_max_attempts(1))
    worker = SteeredWorker(queue)
    await worker.register()
    while (held := await worker.claim()) is not None:
        await worker.end(held, failing=range(0, 100, 3))
    assert await queue.backend.begin_retry(batch_id) == 34  # type: ignore[attr-defined]
    status = await queue.get_batch_status(batch_id)
    assert (status.failed_jobs, status.pending_jobs, status.finished) == (0, 34, False)
    assert await worker.claim() is None
    await sql.upkeep_is_due()
    await queue.backend.upkeep(1.0)
    assert await claim_all(queue) == list(range(0, 100, 3))
    assert (await queue.get_batch_status(batch_id)).state is BatchState.COMPLETED


async def test_retries_of_a_suspended_batch_wait_until_it_is_resumed(queue: JobQueue, sql: Sql) -> None:
    policy = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0.001, max_seconds=0.001)
    batch_id = await queue.enqueue_batch(batch(30).with_retry_policy(policy))
    worker = SteeredWorker(queue)
    await worker.register()
    while (held := await worker.claim()) is not None:
        await worker.end(held, failing=range(1, 30, 2))
    await queue.suspend_batch(batch_id)
    await sql.run("UPDATE hammerwork_chunks SET run_at = run_at - INTERVAL '1' HOUR WHERE state = 'scheduled'")
    await sql.upkeep_is_due()
    await queue.backend.upkeep(1.0)
    assert await sql.value("SELECT count(*) FROM hammerwork_ready") == 0
    assert await worker.claim() is None
    await queue.resume_batch(batch_id)
    assert await claim_all(queue) == list(range(1, 30, 2))


async def test_scattered_retries_of_one_report_are_one_chunk_and_one_claim(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(100).with_retry_policy(AT_ONCE))
    worker = SteeredWorker(queue)
    await worker.register()
    failing = [0, 1, 5, 17, 18, 19, 99]
    await worker.end(await worker.take(), failing=failing)
    assert await sql.value("SELECT count(*) FROM hammerwork_chunks") == 1
    assert [job.index for job in await all_jobs(queue, batch_id, JobStatus.PENDING)] == failing
    part = await worker.take(3)
    assert (run_of(part), part.claim.payloads, part.claim.attempt) == ([0, 1, 5], [0, 1, 5], 2)
    assert [job.index for job in await all_jobs(queue, batch_id, JobStatus.RUNNING)] == [0, 1, 5]
    part.complete(part.start())
    part.release_waiting()
    await worker.report(part)
    assert await claim_all(queue) == [1, 5, 17, 18, 19, 99]
    assert (await queue.get_batch_status(batch_id)).state is BatchState.COMPLETED


async def test_one_exchange_settles_many_small_batches(queue: JobQueue) -> None:
    ids = [await queue.enqueue_batch(batch(3).with_max_attempts(1)) for _ in range(20)]
    worker = SteeredWorker(queue)
    await worker.register()
    claims = await worker.claims(60)
    while more := await worker.claims(60):  # one exchange looks at so many batches
        claims += more
    assert [held.claim.batch_id for held in claims] == ids
    for held in claims:
        while held.waiting:
            held.fail(held.start(), ValueError("no")) if held.claim.batch_id == ids[7] else held.complete(held.start())
    await worker.report(*claims)
    statuses = await queue.get_batch_statuses(ids)
    assert [statuses[batch_id].state for batch_id in ids] == [
        BatchState.COMPLETED_WITH_ERRORS if number == 7 else BatchState.COMPLETED for number in range(20)
    ]


@pytest.mark.every_server
@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM hammerwork_pages WHERE batch_id = $1",
        "DELETE FROM hammerwork_pages WHERE batch_id = $1 AND lo = 100",
        "UPDATE hammerwork_pages SET payloads = '7, {' WHERE batch_id = $1",
        "UPDATE hammerwork_pages SET payloads = '7, {' WHERE batch_id = $1 AND lo = 100",
        "UPDATE hammerwork_pages SET payloads = '7' WHERE batch_id = $1 AND lo = 100",
    ],
    ids=["gone", "one page gone", "no JSON", "one page no JSON", "one page too short"],
)
async def test_payloads_that_somebody_damaged_are_the_error_of_their_jobs(
    queue: JobQueue, sql: Sql, damage: str
) -> None:
    at_once = RetryPolicy(initial_seconds=0, max_seconds=0)
    damaged = await queue.enqueue_batch(batch(300).with_batch_size(100).with_retry_policy(at_once))
    whole = await queue.enqueue_batch(batch(5))
    await sql.run(damage, damaged)

    async def handler(job: Job) -> None:
        if job.attempt == 1 and job.index % 7 == 0:
            raise ValueError("again")  # retries are lists of spans

    async with running(Worker(queue, "q", handler).with_concurrency(3)):
        assert (await finished(queue, whole)).completed_jobs == 5
        status = await finished(queue, damaged)
    assert (status.state, status.failed_jobs) == (
        BatchState.COMPLETED_WITH_ERRORS,
        100 if "lo = 100" in damage else 300,
    )
    (error,) = await queue.get_batch_errors(damaged)
    assert (error.type, error.count) == ("PayloadMissingError", status.failed_jobs)


async def test_fail_fast_takes_a_batch_out_of_sight_at_once(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(
        batch(1_000).with_batch_size(1).with_partial_failure_handling(PartialFailureMode.FAIL_FAST)
    )
    worker = SteeredWorker(queue)
    await worker.register()
    first, second = await worker.take(), await worker.take()
    await worker.end(first, failing=[0])
    assert await sql.value("SELECT count(*) FROM hammerwork_ready") == 0
    assert await worker.claim() is None
    assert not (await queue.get_batch_status(batch_id)).finished
    await worker.end(second)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.finished, status.cancelled_jobs) == (BatchState.FAILED, True, 998)
    assert await queue.retry_failed(batch_id) == 999
    assert await claim_all(queue) == [0, *range(2, 1_000)]


async def test_batches_that_wait_for_their_jobs_hold_nothing_else_up(queue: JobQueue, sql: Sql) -> None:
    """There may be many stopped batches with long jobs; a deletion that was cut off is finished beside them."""
    worker = SteeredWorker(queue)
    await worker.register()
    for _ in range(UNFINISHED_BATCHES + 10):
        stopped = await queue.enqueue_batch(batch(2))
        await worker.take()
        await queue.cancel_batch(stopped)
    cut_off = await queue.enqueue_batch(batch(10))
    assert await queue.backend.tables.begin_deletion(cut_off, "Deleting")  # type: ignore[attr-defined]
    await sql.upkeep_is_due()
    await queue.upkeep()
    assert await sql.value("SELECT count(*) FROM hammerwork_batches WHERE state = 'Deleting'") == 0
    assert await sql.value("SELECT count(*) FROM hammerwork_batches") == UNFINISHED_BATCHES + 10


async def test_one_report_may_retry_later_and_give_back(queue: JobQueue) -> None:
    policy = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=3_600, max_seconds=3_600)
    batch_id = await queue.enqueue_batch(batch(10).with_retry_policy(policy))
    worker = SteeredWorker(queue)
    await worker.register()
    held = await worker.take(6)
    held.fail(held.start(), ValueError("once"))
    held.complete(held.start())
    held.release_waiting()
    await worker.report(held)
    assert await claim_all(queue) == [2, 3, 4, 5, 6, 7, 8, 9]
    status = await queue.get_batch_status(batch_id)
    assert (status.completed_jobs, status.pending_jobs) == (9, 1)
    assert (await queue.get_queue_depths())["q"].scheduled == 1


async def test_a_stream_ends_with_the_batch_that_it_is_for(queue: JobQueue) -> None:
    """The rest of a long stream is not read for a batch that is gone."""
    batch_id = uuid.uuid4()
    read = 0

    def jobs() -> Iterator[Job]:
        nonlocal read
        for n in range(200_000):
            read = n + 1
            yield Job("q", n)

    async def delete(_stored: int) -> None:
        await queue.delete_batch(batch_id)

    with pytest.raises(BatchConflictError, match="it was deleted while its jobs were being loaded"):
        await queue.enqueue_stream(JobBatch("big", queue="q"), jobs(), batch_id=batch_id, progress=delete)
    assert read < 50_000
