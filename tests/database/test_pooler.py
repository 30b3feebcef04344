"""A pooler that keeps no prepared statements (PgBouncer with max_prepared_statements = 0, or before 1.21)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hammerwork import DatabaseError, Job, JobBatch, JobQueue, Worker
from tests.harness.observing import finished, only_postgres, running
from tests.harness.servers import UnavailableServerError
from tests.harness.servers.pgbouncer import pgbouncer_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.servers.pgbouncer import PgbouncerServer
    from tests.harness.servers.postgres import PostgresServer

pytestmark = [only_postgres, pytest.mark.own_server]


@pytest.fixture(scope="module")
def forgetful(postgres: PostgresServer) -> Iterator[PgbouncerServer]:
    try:
        with pgbouncer_server(postgres, {"max_prepared_statements": "0", "default_pool_size": "5"}) as server:
            yield server
    except UnavailableServerError as error:
        pytest.skip(str(error))


@pytest.mark.only("postgres")
async def test_workers_and_enqueuers_work_through_it_with_statement_cache_size_0(
    queue: JobQueue, database_url: str, forgetful: PgbouncerServer
) -> None:
    """Several processes' worth of connections share five sessions, another one for each transaction."""
    runs: list[int] = []

    async def handler(job: Job) -> None:
        runs.append(job.payload)
        if job.payload % 10 == 0 and job.attempt == 1:
            raise ValueError("once")

    url = forgetful.url(database_url.rsplit("/", 1)[1]) + "?statement_cache_size=0"
    async with await JobQueue.connect(url) as own, await JobQueue.connect(url) as other:
        workers = [Worker(each, "q", handler, lease_seconds=3.0).with_concurrency(20) for each in (own, own, other)]
        async with running(*workers):
            small = [
                other.enqueue_batch(JobBatch("small").with_jobs(Job("q", n) for n in range(20))) for _ in range(20)
            ]
            large = own.enqueue_stream(JobBatch("large", queue="q"), (Job("q", n) for n in range(12_000)))
            ids = await asyncio.gather(large, *small)
            for batch_id in ids:
                status = await finished(own, batch_id)
                assert (status.completed_jobs, status.failed_jobs) == (status.total_jobs, 0)
    assert len(runs) == 12_000 + 20 * 20 + 1_200 + 20 * 2
    assert len(await queue.list_batches(limit=100)) == 21


@pytest.mark.only("postgres")
async def test_without_it_the_error_says_what_to_add(
    queue: JobQueue,  # noqa: ARG001 (its tables)
    database_url: str,
    forgetful: PgbouncerServer,
) -> None:
    url = forgetful.url(database_url.rsplit("/", 1)[1])
    with pytest.raises(DatabaseError, match="add statement_cache_size=0 to the URL"):
        await ask_again_and_again(url)


async def ask_again_and_again(url: str) -> None:
    async with await JobQueue.connect(url) as one, await JobQueue.connect(url) as other:
        for _ in range(50):
            await asyncio.gather(*(each.get_queue_depths() for each in (one, other) for _ in range(5)))
