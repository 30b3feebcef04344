"""How often a client has to wait for the server.

Counted between client and server, on the wire: what a driver does besides (preparing statements, looking up types,
resetting a session) costs the user the same as what the library does, and a count of statements would miss it.
"""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING

import pytest

from hammerwork import JobBatch, JobQueue
from tests.harness import batches
from tests.harness.proxy import proxy
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from tests.harness.observing import Sql


def to_users(n: int) -> object:
    return {"to": f"user{n}@example.com"}


batch = functools.partial(batches.batch, payload=to_users)


@pytest.mark.parametrize("warm", [False, True], ids=["first batch", "next batch"])
async def test_a_batch_of_1_000_jobs_takes_few_round_trips(sql: Sql, database_url: str, warm: bool) -> None:
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as queue:
        await queue.ping()
        if warm:
            await queue.enqueue_batch(batch(1_000))
        before = relay.bursts
        await queue.enqueue_batch(batch(1_000))
        assert 1 <= relay.bursts - before <= (1 if warm else 5)
    assert await sql.value("SELECT count(*) FROM hammerwork_jobs") == (2_000 if warm else 1_000)


async def test_a_stream_takes_few_round_trips_a_slice(queue: JobQueue, database_url: str) -> None:
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        counts = []
        for jobs in (10_000, 10_000, 30_000):
            before = relay.bursts
            await own.enqueue_stream(JobBatch("big", queue="q"), batch(jobs).jobs)
            counts.append(relay.bursts - before)
        _, one_slice, three_slices = counts
        assert (three_slices - one_slice) / 2 <= 10
    assert (await queue.get_queue_depths())["q"].ready == 50_000


async def test_reporting_a_claim_and_taking_the_next_is_one_round_trip(queue: JobQueue, database_url: str) -> None:
    await queue.enqueue_batch(batch(300))
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        worker = SteeredWorker(own)
        await worker.register()
        held = await worker.take(100)
        for turn in range(2):
            while held.waiting:
                held.complete(held.start())
            before = relay.bursts
            answer = await own.backend.exchange(worker.id, "q", [held.report()], 100)
            assert held.confirm()
            (claim,) = answer.claims
            held = type(held)(claim)
            if turn == 1:
                assert relay.bursts - before == 1


async def test_the_progress_of_a_batch_is_one_round_trip(queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(batch(10))
    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as own:
        await own.get_batch_status(batch_id)
        before = relay.bursts
        await own.get_batch_statuses([batch_id, uuid.uuid4()])
        assert relay.bursts - before == 1
