"""Idle workers cost a database next to nothing, and hear of jobs whatever has become of their connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import Job, JobBatch, JobQueue, Worker
from hammerwork.timing import IDLE_POLL_SECONDS
from tests.harness.batches import AT_ONCE
from tests.harness.handlers import nothing
from tests.harness.observing import eventually, finished, happens, notifying, running
from tests.harness.proxy import proxy

if TYPE_CHECKING:
    from tests.harness.observing import Sql
    from tests.harness.proxy import Proxy

pytestmark = pytest.mark.filterwarnings("ignore:'INFORMATION_SCHEMA.PROCESSLIST' is deprecated")


async def test_a_worker_process_has_two_sessions_idle_or_busy(queue: JobQueue, sql: Sql, database_url: str) -> None:  # noqa: ARG001 (its tables)
    """One for exchanges, one for heartbeats."""
    async with await JobQueue.connect(database_url, max_connections=1) as user:
        await user.ping()
        others = set(await sql.connections())
        if not others:
            pytest.skip("there is a pool of sessions before the server, which shows its own")

        async def sessions() -> int:
            return len(set(await sql.connections()) - others)

        async with await JobQueue.connect(database_url, max_connections=1) as own:
            worker = Worker(own, "q", fails_at_first).with_concurrency(20)
            async with running(worker):
                await happens(lambda: worker.ready)
                await eventually(sessions, lambda count: count == 2)
                batch = JobBatch("b", queue="q").with_retry_policy(AT_ONCE)
                batch_id = await user.enqueue_stream(batch, (Job("q", n) for n in range(20_000)))
                seen = set()
                while not (await user.get_batch_status(batch_id)).finished:
                    seen.add(await sessions())
                assert max(seen) == 2  # fewer where a slow machine had the worker connect anew
                assert await sessions() == 2


async def fails_at_first(job: Job) -> None:
    """Make jobs ready, of which the workers are notified."""
    if job.attempt == 1 and job.index % 100 == 0:
        raise ValueError("no")


async def test_an_idle_worker_beside_another_one_sends_heartbeats_and_a_poll_a_second(
    queue: JobQueue,  # noqa: ARG001 (its tables)
    database_url: str,
) -> None:
    """Of two, the one that does no upkeep; where it is notified, it does not poll either."""
    async with contextlib.AsyncExitStack() as stack:
        workers: list[tuple[Worker, Proxy]] = []
        for _ in range(2):
            relay, url = await stack.enter_async_context(proxy(database_url))
            own = await stack.enter_async_context(await JobQueue.connect(url))
            workers.append((Worker(own, "q", nothing, lease_seconds=1.2), relay))
        await stack.enter_async_context(running(*(worker for worker, _ in workers)))
        for worker, _ in workers:
            await happens(
                lambda: worker.ready and (worker._pulse.notified or worker._pump._pause == IDLE_POLL_SECONDS)  # noqa: B023
            )

        async def quiet_time() -> tuple[Worker, int, float] | None:
            idle = [(worker, relay) for worker, relay in workers if not worker._pulse._leads]
            before, since = [relay.bursts for _, relay in idle], time.monotonic()
            await asyncio.sleep(1.5)
            if len(idle) != 1 or idle[0][0]._pulse._leads:
                return None
            return idle[0][0], idle[0][1].bursts - before[0], time.monotonic() - since

        found = await eventually(quiet_time, bool)
    assert found is not None
    worker, count, seconds = found
    polls = 0 if worker._pulse.notified else seconds / IDLE_POLL_SECONDS + 2
    heartbeats = seconds / (worker._pulse.interval * 0.9) + 2
    assert count <= heartbeats + polls, f"{count} round trips in {seconds:.2f} s"


class Polls:
    """Sees the exchanges of a worker."""

    def __init__(self, worker: Worker) -> None:
        self.pump: Any = worker._pump
        self.pauses: list[float] = []
        """After each exchange: seconds until the next one."""
        take = self.pump._take

        def taken(*args: Any, **keywords: Any) -> None:
            take(*args, **keywords)
            self.pauses.append(self.pump._pause)

        self.pump._take = taken  # type: ignore[method-assign]

    @property
    def pause(self) -> float:
        return float(self.pump._pause)


@pytest.mark.capability(notifies=False)
async def test_the_pauses_between_polls_grow_while_there_is_nothing_to_do(queue: JobQueue) -> None:
    worker = Worker(queue, "q", nothing).with_poll_interval(0.3)
    polls = Polls(worker)
    async with running(worker):
        await happens(lambda: IDLE_POLL_SECONDS in polls.pauses)
        assert sorted({0.3, *polls.pauses}) == pytest.approx([0.3, 0.45, 0.675, IDLE_POLL_SECONDS])
        assert polls.pauses == sorted(polls.pauses)
        since, seen = time.monotonic(), len(polls.pauses)
        await happens(lambda: len(polls.pauses) >= seen + 2)
        assert time.monotonic() - since > IDLE_POLL_SECONDS, "there is one whole pause in it"
        await finished(queue, await queue.enqueue_batch(JobBatch("b").with_jobs([Job("q", 1)])))
        await happens(lambda: 0.3 in polls.pauses[seen:])


@notifying
@pytest.mark.usefixtures("notifications")
async def test_an_idle_worker_whose_line_died_silently_polls_and_is_notified_again(
    queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own heartbeats find out, as they go over the same line; nothing else tells an idle worker."""
    for module in ("lifeline", "backend"):
        monkeypatch.setattr(f"hammerwork.backends.postgres.{module}.EXCHANGE_SECONDS", 1.0)
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        worker = Worker(own, "q", nothing, lease_seconds=3.0)
        polls = Polls(worker)
        async with running(worker):
            await happens(lambda: worker._pulse.notified and polls.pauses)
            line = worker._pulse._line
            relay.strand()
            # Nobody is told of it.
            lost = await queue.enqueue_batch(JobBatch("meanwhile").with_jobs([Job("q", 1)]))
            status = await finished(queue, lost, within=20)
            assert status.completed_jobs == 1
            await happens(lambda: worker._pulse.notified and worker._pulse._line is not line)
            again = await queue.enqueue_batch(JobBatch("again").with_jobs([Job("q", 1)]))
            await finished(queue, again, within=20)
