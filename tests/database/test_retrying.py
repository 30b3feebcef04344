"""Failed jobs of an ended batch run again, by `retry_failed`, in slices: each is one transaction."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    BatchConflictError,
    BatchState,
    InvalidSelectionError,
    Job,
    JobBatch,
    JobStatus,
    PartialFailureMode,
    Priority,
)
from hammerwork.backends.upkeep import SLICES_PER_TURN
from hammerwork.selection import MAX_INDEX, select
from tests.harness.batches import AT_ONCE
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from hammerwork import JobQueue
    from tests.harness.observing import Sql


JOBS = 20_000
SLICE_JOBS = 200
"""Of a stream: each slice is sorted by priority, so 20,000 jobs have 500 runs of one priority, of 40 jobs each."""
RETRY_SLICE = 1_500
"""Failures; neither a divisor of all of them nor a multiple of those of a run."""


def priority_of(index: int) -> Priority:
    return Priority(4 - index % SLICE_JOBS * 5 // SLICE_JOBS)


def failing(index: int) -> bool:
    return index % 3 != 1


def small_slices(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    for module in ("postgres.backend", "mysql.backend", "upkeep"):
        monkeypatch.setattr(f"hammerwork.backends.{module}.RETRY_JOBS", failures)


async def work(queue: JobQueue, failing: Callable[[int], bool] = lambda _index: False) -> list[tuple[int, int, int]]:
    """Take all there is to take and let jobs fail; return (index, priority, attempt) in the order of the claims."""
    worker = SteeredWorker(queue)
    await worker.register()
    seen: list[tuple[int, int, int]] = []
    while claims := await worker.claims(5_000):
        for held in claims:
            taken = run_of(held)
            assert held.claim.payloads == taken
            seen += [(index, held.claim.priority, held.claim.attempt) for index in taken]
            while held.waiting:
                offset = held.start()
                held.fail(offset, ValueError("no")) if failing(taken[offset]) else held.complete(offset)
        await worker.report(*claims)
    assert len(set(seen)) == len(seen), "a job was handed out twice"
    return seen


async def test_failures_scattered_over_many_runs_of_priorities_are_retried_in_slices(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_slices(monkeypatch, RETRY_SLICE)
    monkeypatch.setattr("hammerwork.backends.slices.SLICE_JOBS", SLICE_JOBS)
    batch_id = await queue.enqueue_stream(
        JobBatch("b", queue="q").with_max_attempts(1).with_batch_size(1_000),
        (Job("q", n).with_priority(priority_of(n)) for n in range(JOBS)),
    )
    await work(queue, failing)
    failed = [index for index in range(JOBS) if failing(index)]
    assert len(json.loads(await sql.value("SELECT priorities FROM hammerwork_batches"))) == 500
    assert (await queue.get_batch_status(batch_id)).failed_jobs == len(failed)
    assert await queue.retry_failed(batch_id) == len(failed)
    assert await sql.value("SELECT count(*) FROM hammerwork_failures") == 0
    chunks = await sql.value("SELECT count(*) FROM hammerwork_chunks")
    # A slice makes a chunk of each priority, of up to 1,000 jobs.
    assert len(failed) / 1_000 <= chunks <= len(Priority) * (len(failed) // RETRY_SLICE + 2), f"{chunks} chunks"
    again = await work(queue)
    assert sorted(again) == [(index, priority_of(index), 1) for index in failed]
    order = [priority for _, priority, _ in again]
    assert order == sorted(order, reverse=True), "by priority, whatever the slice"
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED, JOBS, 0)


async def failures_left(sql: Sql) -> int:
    return int(await sql.value("SELECT count(*) FROM hammerwork_failures"))


async def test_a_retry_that_was_cut_off_between_two_slices_is_completed_by_the_upkeep(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_slices(monkeypatch, 30)
    batch_id = await queue.enqueue_stream(
        JobBatch("b", queue="q").with_max_attempts(1),
        (Job("q", n, priority=Priority(4 - n // 100)) for n in range(500)),
    )
    await work(queue, failing)
    failed = [index for index in range(500) if failing(index)]
    assert await queue.backend.begin_retry(batch_id) == len(failed)  # type: ignore[attr-defined]
    for _ in range(3):
        await slice_of(queue, batch_id, 30)
    left = await failures_left(sql)
    assert 0 < left < len(failed)
    assert await work(queue) == [], "nothing of it can be claimed before the last slice"
    assert (await queue.get_batch_status(batch_id)).pending_jobs == len(failed)
    turns = 0
    while await failures_left(sql) and turns < 20:
        await sql.upkeep_is_due()
        await queue.upkeep()
        turns += 1
    assert turns == -(-left // (30 * SLICES_PER_TURN)), "a few slices a turn"
    assert sorted(await work(queue)) == [(index, 4 - index // 100, 1) for index in failed]
    assert (await queue.get_batch_status(batch_id)).state is BatchState.COMPLETED


async def slice_of(queue: JobQueue, batch_id: UUID, failures: int) -> None:
    """Do one slice of a retry that has begun."""
    backend: Any = queue.backend
    if hasattr(backend, "_chores"):
        assert await backend._chores.retry_slice(batch_id, failures)
    else:
        assert await backend._fetchval("retry_slice", batch=batch_id, limit=failures)


@pytest.mark.parametrize("failures", [1, 2, 3, 4, 5, 7])
async def test_a_job_whose_attempts_lie_across_the_end_of_a_slice_runs_once(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A batch may keep each attempt that failed; a slice may have no room for all of one job."""
    small_slices(monkeypatch, failures)
    batch_id = await queue.enqueue_batch(
        JobBatch("b")
        .with_max_attempts(3)
        .with_retry_policy(AT_ONCE)
        .with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
        .with_jobs(Job("q", n) for n in range(20))
    )
    await work(queue, lambda index: index % 4 != 3)
    assert await failures_left(sql) == 15 * 3
    assert await queue.retry_failed(batch_id) == 15
    assert await failures_left(sql) == 0
    assert await work(queue) == [(index, Priority.NORMAL, 1) for index in range(20) if index % 4 != 3]
    assert (await queue.get_batch_status(batch_id)).completed_jobs == 20


async def of_two_types(queue: JobQueue, mode: PartialFailureMode = PartialFailureMode.COLLECT_ERRORS) -> UUID:
    """A finished batch of 30 jobs: every third completes, even ones fail as ValueError, odd ones as KeyError.

    The attempt before the last fails with the other type.
    """
    batch_id = await queue.enqueue_stream(
        JobBatch("b", queue="q").with_max_attempts(2).with_retry_policy(AT_ONCE).with_partial_failure_handling(mode),
        (Job("q", n, priority=Priority(4 - n // 10)) for n in range(30)),
    )
    worker = SteeredWorker(queue)
    await worker.register()
    while claims := await worker.claims(5_000):
        for held in claims:
            for offset, index in enumerate(run_of(held)):
                held.start()
                kind = ValueError if (index + held.claim.attempt) % 2 == 0 else KeyError
                held.complete(offset) if index % 3 == 0 else held.fail(offset, kind("no"))
        await worker.report(*claims)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 20)
    return batch_id


FAILED = [index for index in range(30) if index % 3]
CHOICES = [
    ({"error_types": ["ValueError"]}, [index for index in FAILED if index % 2 == 0]),
    ({"indexes": "5-9,28,11"}, [5, 7, 8, 11, 28]),
    ({"error_types": ["KeyError", "OSError"], "indexes": "5-9"}, [5, 7]),
    ({"error_types": ["ValueError", "KeyError"]}, FAILED),
]


@pytest.mark.parametrize(("chosen", "jobs"), CHOICES, ids=["type", "indexes", "both", "all"])
async def test_chosen_failed_jobs_run_again_and_the_others_keep_their_failures(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], jobs: list[int]
) -> None:
    """An error type is that of the last attempt. Slices of 7 failures end between the two attempts of a job, too."""
    small_slices(monkeypatch, 7)
    batch_id = await of_two_types(queue)
    assert await queue.retry_failed(batch_id, **chosen) == len(jobs)
    status = await queue.get_batch_status(batch_id)
    assert (status.pending_jobs, status.failed_jobs, status.completed_jobs) == (len(jobs), 20 - len(jobs), 10)
    assert status.retried_at is not None
    assert await failures_left(sql) == 2 * (20 - len(jobs))
    again = await work(queue, lambda index: index == jobs[0])
    assert sorted({index for index, _, _ in again}) == jobs
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 20 - len(jobs) + 1)
    assert [job.index for job in await queue.get_batch_jobs(batch_id, status=JobStatus.FAILED)] == sorted(
        {*FAILED, jobs[0]} - {*jobs[1:]}
    )
    if len(jobs) < 20:
        assert await queue.retry_failed(batch_id) == 20 - len(jobs) + 1, "the rest is still there to be retried"
        await work(queue)
        assert (await queue.get_batch_status(batch_id)).state is BatchState.COMPLETED


async def test_a_retry_of_chosen_jobs_that_was_cut_off_is_completed_as_it_was_meant(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_slices(monkeypatch, 4)
    batch_id = await of_two_types(queue)
    chosen, jobs = select(["ValueError"], "0-25"), [index for index in FAILED if index % 2 == 0 and index <= 25]
    backend: Any = queue.backend
    assert await backend.begin_retry(batch_id, chosen) == len(jobs)
    await slice_of(queue, batch_id, 4)
    await slice_of(queue, batch_id, 4)
    assert await backend.begin_retry(batch_id, chosen) == len(jobs), "the same call joins in"
    with pytest.raises(BatchConflictError):
        await backend.begin_retry(batch_id)
    assert await work(queue) == [], "nothing of it can be claimed before the last slice"
    for _ in range(3):
        await sql.upkeep_is_due()
        await queue.upkeep()
    assert sorted(index for index, _, _ in await work(queue)) == jobs
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 20 - len(jobs))


async def test_nothing_runs_where_no_failed_job_is_chosen(queue: JobQueue) -> None:
    batch_id = await of_two_types(queue)
    before = await queue.get_batch_status(batch_id)
    assert await queue.retry_failed(batch_id, error_types=["OSError"]) == 0
    assert await queue.retry_failed(batch_id, indexes=f"0,3,30-{MAX_INDEX}") == 0
    assert await queue.get_batch_status(batch_id) == before
    with pytest.raises(InvalidSelectionError):
        await queue.retry_failed(batch_id, indexes="9-5")


async def test_of_a_failed_failfast_batch_the_chosen_jobs_run_with_all_that_was_cancelled(queue: JobQueue) -> None:
    batch_id = await queue.enqueue_batch(
        JobBatch("b")
        .with_partial_failure_handling(PartialFailureMode.FAIL_FAST)
        .with_batch_size(3)
        .with_jobs(Job("q", n) for n in range(9))
    )
    worker = SteeredWorker(queue)
    await worker.register()
    (held,) = await worker.claims(3, claims=1)
    for offset, error in enumerate([ValueError("no"), KeyError("no"), None]):
        held.start()
        held.complete(offset) if error is None else held.fail(offset, error)
    await worker.report(held)
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.failed_jobs, status.cancelled_jobs) == (BatchState.FAILED, 2, 6)
    assert await queue.retry_failed(batch_id, error_types=["OSError"]) == 0
    assert await queue.retry_failed(batch_id, error_types=["ValueError"]) == 7
    assert sorted(index for index, _, _ in await work(queue)) == [0, *range(3, 9)]
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.failed_jobs, status.completed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 1, 8)


async def test_a_retry_with_a_number_begins_once_whoever_asks_for_it_again(queue: JobQueue) -> None:
    batch = JobBatch("b", queue="q").with_max_attempts(1).with_jobs(Job("q", n) for n in range(4))
    batch.retry_attempt = 2
    batch_id = await queue.enqueue_batch(batch)
    with pytest.raises(BatchConflictError):
        await queue.retry_failed(batch_id, attempt=3)
    await work(queue, lambda index: index < 2)
    assert (await queue.get_batch_status(batch_id)).retry_attempt == 2
    assert await queue.retry_failed(batch_id, attempt=2) == 0
    both = await asyncio.gather(*(queue.retry_failed(batch_id, attempt=3) for _ in range(2)), return_exceptions=True)
    assert sorted(both, key=str) == [0, 2]
    await work(queue, lambda index: index < 1)
    assert await queue.retry_failed(batch_id, attempt=3) == 0
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.retry_attempt) == (BatchState.COMPLETED_WITH_ERRORS, 3)
    assert await queue.retry_failed(batch_id) == 1, "without a number, and the number stays"
    await work(queue)
    assert await queue.retry_failed(batch_id, attempt=7) == 0
    status = await queue.get_batch_status(batch_id)
    assert (status.state, status.retry_attempt) == (BatchState.COMPLETED, 7)
