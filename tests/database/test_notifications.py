"""Whatever makes jobs ready notifies idle workers (PostgreSQL), and not once for each job."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING

import pytest

from hammerwork import Job, JobBatch, JobQueue, RetryPolicy, RetryStrategy
from hammerwork.backends.postgres import waking
from hammerwork.backends.sql import read_sql
from hammerwork.backends.upkeep import CLAIMS_PER_NOTICE
from tests.harness import observing
from tests.harness.batches import AT_ONCE, batch
from tests.harness.observing import happens, notifying
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from tests.harness.observing import Sql

pytestmark = [notifying, pytest.mark.usefixtures("notifications")]

LATER = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=3_600, max_seconds=3_600)


class Listener:
    """Counts the notifications of a queue."""

    def __init__(self) -> None:
        self.heard = 0

    def notified(self) -> None:
        self.heard += 1

    async def hears(self, what: Callable[[], Awaitable[object]]) -> None:
        """Fail unless `what` is followed by a notification."""
        await asyncio.sleep(0.05)  # what was sent before has arrived
        self.heard = 0
        await what()
        await happens(lambda: self.heard)


@contextlib.asynccontextmanager
async def listening(queue: JobQueue, name: str = "q") -> AsyncIterator[Listener]:
    listener = Listener()
    line = await queue.backend.lifeline(name, listener.notified)
    try:
        assert line.notified
        yield listener
    finally:
        await line.close()


async def failed(queue: JobQueue, count: int = 4) -> UUID:
    """Return a batch that has ended with all of its jobs failed."""
    batch_id = await queue.enqueue_batch(batch(count).with_max_attempts(1))
    worker = SteeredWorker(queue)
    await worker.register()
    await worker.end(await worker.take(), failing=range(count))
    return batch_id


async def test_outcomes_that_make_jobs_ready(queue: JobQueue) -> None:
    await queue.enqueue_batch(batch(4).with_retry_policy(AT_ONCE))
    worker = SteeredWorker(queue)
    await worker.register()
    async with listening(queue) as listener:
        held = await worker.take(2)
        held.release_waiting()
        await listener.hears(lambda: worker.report(held))
        again = await worker.take(1)
        await listener.hears(lambda: worker.end(again, failing=[0]))


async def test_retries_that_are_due(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(4).with_retry_policy(LATER))
    worker = SteeredWorker(queue)
    await worker.register()
    await worker.end(await worker.take(), failing=[1])
    await sql.run("UPDATE hammerwork_chunks SET run_at = now()")
    await sql.upkeep_is_due()
    async with listening(queue) as listener:
        await listener.hears(queue.upkeep)


async def test_what_users_do(queue: JobQueue) -> None:
    suspended = await queue.enqueue_batch(batch(4).with_suspended(suspended=True))
    ended = await failed(queue)
    await SteeredWorker(queue).register()
    await queue.pause_queue("q")
    async with listening(queue) as listener:
        await listener.hears(lambda: queue.resume_queue("q"))
        await listener.hears(lambda: queue.resume_batch(suspended))
        await listener.hears(lambda: queue.retry_failed(ended))
        await listener.hears(lambda: queue.enqueue_batch(batch(4)))
        await listener.hears(lambda: queue.enqueue_stream(JobBatch("big", queue="q"), [Job("q", 1)]))


async def test_an_enqueue_notifies_within_its_commit_unless_another_one_does(
    queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits that notify wait for each other; who would have to wait notifies afterwards."""
    afterwards: list[str] = []
    wake = queue.backend.tables.wake  # type: ignore[attr-defined]

    def woken(name: str) -> None:
        afterwards.append(name)
        wake(name)

    monkeypatch.setattr(queue.backend.tables, "wake", woken)  # type: ignore[attr-defined]
    await SteeredWorker(queue).register()
    async with listening(queue) as listener, observing.sql(database_url) as other:
        await listener.hears(lambda: queue.enqueue_batch(batch(1)))
        assert afterwards == []
        text = read_sql("hammerwork.backends.postgres", "sql/enqueue.sql")
        (key,) = re.findall(r"c_lock CONSTANT bigint := (\d+)", text)
        await other.run("BEGIN")
        await other.rows("SELECT pg_advisory_xact_lock($1::bigint)", int(key))
        await listener.hears(lambda: queue.enqueue_batch(batch(1)))
        assert afterwards == ["q"]
        await other.run("COMMIT")


async def test_a_retry_that_was_cut_off_and_is_finished_by_the_upkeep(queue: JobQueue, sql: Sql) -> None:
    await queue.backend.begin_retry(await failed(queue))  # type: ignore[attr-defined]
    await sql.upkeep_is_due()
    async with listening(queue) as listener:
        await listener.hears(queue.upkeep)


async def test_many_claims_of_a_lost_worker_are_a_few_notifications(queue: JobQueue, sql: Sql) -> None:
    count = 2 * CLAIMS_PER_NOTICE + 10
    await queue.enqueue_batch(batch(count).with_batch_size(1))
    worker = SteeredWorker(queue)
    await worker.register()
    for _ in range(count):
        await worker.take()
    await worker.vanish(sql)
    async with listening(queue) as listener, listening(queue, "end") as end:
        assert await queue.release_lost_claims() == count
        await end.hears(lambda: queue.resume_queue("end"))
        assert 1 <= listener.heard - 1 <= 3, "one is the listener's own"


async def test_claims_that_never_arrived(queue: JobQueue, sql: Sql) -> None:
    await queue.enqueue_batch(batch(4))
    worker = SteeredWorker(queue)
    await worker.register()
    await worker.take()
    await sql.age_claims()
    async with listening(queue) as listener:
        await listener.hears(lambda: worker.recover([]))


async def test_a_queue_is_notified_at_most_once_per_pause(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches come; and once more after the last one."""
    pause = 0.2
    monkeypatch.setattr(waking, "_PAUSE_SECONDS", pause)
    await SteeredWorker(queue).register()
    async with listening(queue) as listener:
        await listener.hears(lambda: queue.enqueue_batch(batch(1)))
        since, count = time.monotonic(), 0
        listener.heard = 0
        while time.monotonic() < since + 3 * pause or count <= 10:
            await queue.enqueue_batch(batch(1))
            count += 1
        elapsed = time.monotonic() - since
        await happens(lambda: listener.heard >= 2)
        await asyncio.sleep(2 * pause)
        assert 2 <= listener.heard <= elapsed / pause + 2, f"{listener.heard} notifications in {elapsed:.2f} s"


async def test_the_workers_of_other_queues_hear_nothing(queue: JobQueue) -> None:
    await SteeredWorker(queue).register()
    async with listening(queue) as listener, listening(queue, "other") as other:
        await asyncio.sleep(0.05)  # their own have arrived
        other.heard = 0
        await listener.hears(lambda: queue.enqueue_batch(batch(4)))
        await listener.hears(lambda: queue.enqueue_batch(batch(4)))
        assert other.heard == 0


@pytest.mark.parametrize("waits", ["q", "other", None])
async def test_notifications_are_no_part_of_what_makes_jobs_ready(
    queue: JobQueue, sql: Sql, database_url: str, caplog: pytest.LogCaptureFixture, waits: str | None
) -> None:
    """A notification that cannot be sent undoes nothing; and none is sent where no worker is."""
    caplog.set_level("DEBUG", "hammerwork.queue")
    if waits is not None:
        await SteeredWorker(queue, waits).register()
    await sql.run(
        "CREATE FUNCTION pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no notification'; END $$"
    )
    database = await sql.value("SELECT current_database()")
    await sql.run(f"ALTER DATABASE {database} SET search_path = public, pg_catalog")
    async with await JobQueue.connect(database_url) as own:
        small = await own.enqueue_batch(batch(4))
        large = await own.enqueue_stream(JobBatch("large", queue="q"), (Job("q", n) for n in range(3)))
    # Closing sends what is waiting to be sent.
    assert ("no notification" in caplog.text) is (waits == "q")
    statuses = await queue.get_batch_statuses([small, large])
    assert [statuses[batch_id].pending_jobs for batch_id in (small, large)] == [4, 3]
