"""The database goes away and comes back, connections break or die silently: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState, DatabaseUnavailableError, Job, JobBatch, JobQueue, Worker
from tests.harness import observing
from tests.harness.batches import retried_at_once
from tests.harness.handlers import Runs
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, eventually, finished, happens, running
from tests.harness.proxy import proxy
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.postgres import postgres_server
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.harness.observing import Sql
    from tests.harness.servers import OwnServer


def failing_some(seconds: float = 0.001) -> Runs:
    """Return a handler of which every hundredth job fails at first, every thousandth for good."""

    async def then(job: Job) -> None:
        await asyncio.sleep(seconds)
        if job.index % 1_000 == 999 or (job.index % 100 == 50 and job.attempt == 1):
            raise ValueError("no")

    return Runs(then)


def check(runs: Runs, jobs: int) -> None:
    expected = {(n, 1) for n in range(jobs)}
    expected |= {(n, 2) for n in range(jobs) if n % 100 == 50 or n % 1_000 == 999}
    expected |= {(n, attempt) for n in range(jobs) if n % 1_000 == 999 for attempt in (3, 4)}
    assert runs.attempts == dict.fromkeys(expected, 1)


@pytest.fixture(params=[postgres_server, mariadb_server])
def own_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """A server that the test may stop."""
    with request.param() as server:
        yield server


@pytest.fixture
async def own_queue(own_server: OwnServer) -> AsyncIterator[JobQueue]:
    async with await JobQueue.connect(own_server.url()) as queue:
        await queue.create_tables()
        yield queue


async def restart(server: OwnServer) -> None:
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)


async def test_workers_outlast_crashes_of_the_database(own_server: OwnServer, own_queue: JobQueue) -> None:
    batch_id = await own_queue.enqueue_batch(retried_at_once(4_000))
    runs = failing_some()
    workers = [Worker(own_queue, "q", runs).with_concurrency(4) for _ in range(2)]
    async with running(*workers):
        for part in (500, 1_500, 2_500):

            def so_far(part: int = part) -> bool:
                return runs.attempts.total() >= part

            await happens(so_far)
            await restart(own_server)
        await happens(lambda: runs.attempts.total() >= 4_000 + 40 + 4 * 3)
        status = await finished(own_queue, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 3_996, 4)
    check(runs, 4_000)


async def test_a_worker_waits_for_a_database_that_is_not_there_yet(own_server: OwnServer, own_queue: JobQueue) -> None:
    batch_id = await own_queue.enqueue_batch(retried_at_once(10))
    await asyncio.to_thread(own_server.stop)
    runs = failing_some()
    worker = Worker(own_queue, "q", runs)
    async with running(worker):
        with pytest.raises(DatabaseUnavailableError, match=r"database (postgresql|mysql)://127\.0\.0\.1:\d+/\w+: "):
            await own_queue.get_batch_status(batch_id)
        assert not worker.ready
        assert worker.healthy
        await asyncio.to_thread(own_server.start)
        status = await finished(own_queue, batch_id)
        await happens(lambda: worker.ready)
    assert status.completed_jobs == 10


async def test_a_worker_can_be_stopped_while_the_database_is_away(own_server: OwnServer, own_queue: JobQueue) -> None:
    batch_id = await own_queue.enqueue_batch(retried_at_once(10))
    runs = failing_some(seconds=0.2)
    worker = Worker(own_queue, "q", runs, lease_seconds=3.0).with_concurrency(2).with_shutdown_grace_period(1)
    task = asyncio.create_task(worker.run())
    await happens(lambda: worker.busy_lanes == 2)
    await asyncio.to_thread(own_server.stop, "immediate")
    worker.stop()
    await asyncio.wait_for(task, DEADLINE_SECONDS)
    await asyncio.to_thread(own_server.start)
    await own_queue.release_lost_claims()
    async with running(Worker(own_queue, "q", runs)):
        status = await finished(own_queue, batch_id)
    assert status.completed_jobs == 10


async def test_enqueueing_goes_on_after_a_crash_of_the_database(own_server: OwnServer, own_queue: JobQueue) -> None:
    batch_id = uuid.uuid4()
    crashes = {10_000, 30_000}

    async def progress(stored: int) -> None:
        if stored in crashes:
            crashes.remove(stored)
            await restart(own_server)

    def jobs() -> Iterator[Job]:
        return (Job("q", n) for n in range(50_000))

    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await own_queue.enqueue_stream(JobBatch("b", queue="q"), jobs(), batch_id=batch_id, progress=progress)
                break
            except DatabaseUnavailableError:
                await asyncio.sleep(0.05)
    assert crashes == set()
    assert [job.payload for job in await all_jobs(own_queue, batch_id)] == list(range(50_000))
    assert (await own_queue.get_queue_depths())["q"].ready == 50_000


@pytest.mark.parametrize("how", ["end_connection", "end_statement"])
async def test_connections_and_statements_broken_at_random_cost_nothing(
    own_queue: JobQueue, own_server: OwnServer, how: str
) -> None:
    batch_id = await own_queue.enqueue_batch(retried_at_once(3_000).with_batch_size(20))
    runs = failing_some()
    dice = random.Random(7)
    async with await JobQueue.connect(own_server.url()) as workers_queue:
        workers = [Worker(workers_queue, "q", runs).with_concurrency(4) for _ in range(3)]
        async with running(*workers), observing.sql(own_server.url()) as sql:
            broken = 0
            until = time.monotonic() + 3 * DEADLINE_SECONDS
            while runs.attempts.total() < 2_900:
                assert time.monotonic() < until, f"{runs.attempts.total()} runs after {broken} breaks"
                if connections := await sql.connections():
                    await getattr(sql, how)(dice.choice(connections))
                    broken += 1
                await asyncio.sleep(0.03)
            assert broken > 5
            async with await JobQueue.connect(own_server.url()) as quiet:
                status = await finished(quiet, batch_id)
    assert (status.state, status.completed_jobs, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 2_997, 3)
    check(runs, 3_000)


async def test_a_claim_whose_answer_was_lost_is_free_again(queue: JobQueue, sql: Sql, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(10))
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        worker = SteeredWorker(own)
        await worker.register()
        first = await worker.take(3)
        relay.swallow_answers()
        lost = asyncio.create_task(worker.claim(4))

        async def claims() -> int:
            return int(await sql.value("SELECT count(*) FROM hammerwork_claims"))

        await eventually(claims, lambda count: count == 2)
        relay.cut()
        relay.go_on()
        with pytest.raises(DatabaseUnavailableError):
            await lost
        again = await worker.take(1_000)
        assert run_of(again) == [7, 8, 9]
        assert not (await worker.heartbeat([first, again])).undelivered, "it may still be on its way"
        await sql.age_claims()
        assert (await worker.heartbeat([first, again])).undelivered
        assert await worker.recover([first, again]) == 4
        seen = run_of(first) + run_of(again)
        await worker.end(first)
        await worker.end(again)
        while (more := await worker.claim()) is not None:
            seen += run_of(more)
            await worker.end(more)
    assert sorted(seen) == list(range(10))
    assert (await queue.get_batch_status(batch_id)).state is BatchState.COMPLETED


async def test_connections_that_died_silently_are_replaced_within_a_lease(queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(retried_at_once(3_000).with_batch_size(20))
    runs = failing_some(seconds=0.002)
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        worker = Worker(own, "q", runs).with_concurrency(4)
        async with running(worker):
            await happens(lambda: runs.attempts.total() > 500)
            relay.strand()
            status = await finished(queue, batch_id)
            assert worker.healthy
    assert (status.completed_jobs, status.failed_jobs) == (2_997, 3)
    check(runs, 3_000)
