"""The upkeep of a database: bounded transactions, what it removes, and the one process at a time that does it."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import Job, JobBatch, RetryPolicy, RetryStrategy, Worker
from hammerwork.backends import upkeep
from tests.harness.handlers import nothing
from tests.harness.observing import eventually, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hammerwork import JobQueue
    from tests.harness.observing import Sql

LATER = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=3_600, max_seconds=3_600)
DUE = 23
"""Chunks of due retries."""


async def make_due(queue: JobQueue, sql: Sql) -> None:
    """Let retries of several batches be due, each a chunk of its own."""
    worker = SteeredWorker(queue)
    await worker.register()
    for number in range(DUE):
        jobs = [Job(f"q{number % 3}", n) for n in range(3)]
        await queue.enqueue_batch(JobBatch(f"b{number}").with_retry_policy(LATER).with_jobs(jobs))
        worker.queue_name = f"q{number % 3}"
        await worker.end(await worker.take(), failing=[1])
    await sql.run("UPDATE hammerwork_chunks SET run_at = run_at - INTERVAL '1' DAY")


class Ticks:
    """Calls the statements of the upkeep for the backend, and notes how many chunks each tick made ready."""

    def __init__(self, caller: upkeep.Caller) -> None:
        self.caller = caller
        self.wake = caller.wake
        self.made: list[int] = []

    async def fetch(self, query: str, **values: Any) -> Sequence[Any]:
        found = await self.caller.fetch(query, **values)
        if query == "tick":
            self.made.append(len(found))
        return found


@pytest.mark.parametrize(("limit", "expected"), [(10, [10, 10, 3]), (23, [23, 0]), (50, [23])])
async def test_due_retries_become_ready_a_limited_number_at_a_time(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch, limit: int, expected: list[int]
) -> None:
    """However many are due: no transaction holds the locks of all of them."""
    await make_due(queue, sql)
    monkeypatch.setattr(upkeep, "DUE_CHUNKS", limit)
    backend: Any = queue.backend
    ticks = Ticks(getattr(backend, "_chores", backend))
    await sql.upkeep_is_due()
    assert (await upkeep.do_upkeep(ticks, 1.0)).turn
    assert ticks.made == expected
    states = dict(await sql.rows("SELECT state, count(*) FROM hammerwork_chunks GROUP BY state"))
    assert states == {"ready": DUE}
    assert sum(depth.ready for depth in (await queue.get_queue_depths()).values()) == DUE


async def test_an_abandoned_batch_that_nobody_enqueues_again_is_removed(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenStreamError(Exception):
        pass

    def broken() -> Iterator[Job]:
        yield from (Job("q", n) for n in range(15_000))
        raise BrokenStreamError

    async def cut_off(*_args: object) -> bool:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(queue.backend.tables, "delete_slice", cut_off)  # type: ignore[attr-defined]
        with pytest.raises(ConnectionResetError):
            await queue.enqueue_stream(JobBatch("big", queue="q"), broken(), batch_id=uuid.uuid4())
    assert (await sql.stored_rows()).keys() >= {"batches", "pages", "chunks"}
    assert await sql.value("SELECT state FROM hammerwork_batches") == "Abandoned"
    await sql.upkeep_is_due()
    await queue.upkeep()
    assert await sql.stored_rows() == {}


def watch(worker: Worker, asked: Counter[Worker]) -> None:
    """Count how often a worker asks whether it is its turn."""
    pulse: Any = worker._pulse
    ask = pulse._upkeep

    async def counted() -> None:
        asked[worker] += 1
        await ask()

    pulse._upkeep = counted


async def one_alone(asked: Counter[Worker], workers: Sequence[Worker]) -> Worker:
    """Return the worker that asked eight times while the others did not, which may be busy for a while first."""
    before = asked.copy()

    async def look() -> Counter[Worker]:
        nonlocal before
        since = asked - before
        if len(since) > 1:
            before = asked.copy()
        return since

    since = await eventually(look, lambda since: len(since) == 1 and sum(since.values()) >= 8)
    (leader,) = since
    assert leader in workers
    return leader


async def test_idle_workers_leave_the_upkeep_to_one_and_take_it_over_when_it_has_gone(queue: JobQueue) -> None:
    workers = [Worker(queue, "q", nothing, lease_seconds=1.2) for _ in range(4)]
    asked: Counter[Worker] = Counter()
    for worker in workers:
        watch(worker, asked)
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(running(worker))
        await happens(lambda: len(asked) == 4)
        first = await one_alone(asked, workers)
        first.stop()
        await happens(lambda: first._pulse._ended is not None and first._pulse._ended.done())
        assert await one_alone(asked, workers) is not first
