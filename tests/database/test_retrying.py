"""Failed jobs of an ended batch run again, by `retry_failed`, in slices: each is one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import BatchState, Job, JobBatch, PartialFailureMode, Priority
from hammerwork.backends.upkeep import SLICES_PER_TURN
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


@pytest.mark.parametrize("failures", [3, 4, 5, 7])
async def test_a_job_whose_attempts_lie_across_the_end_of_a_slice_runs_once(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A batch may keep each attempt that failed; a slice has room for all of one job."""
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
