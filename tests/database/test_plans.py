"""The statements of the hot path use indexes, also in plans that are made before statistics exist (PostgreSQL)."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hammerwork import Job, JobBatch
from hammerwork.backends.sql import read_queries
from tests.database.observing import only_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork import JobQueue

BATCHES = 10
JOBS_PER_BATCH = 100_000


class Plans:
    """Runs statements and returns the plans of everything that was executed, inside functions too."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self.connection = connection
        self._plans: list[str] = []
        connection.add_log_listener(lambda _connection, message: self._plans.append(str(message)))

    async def of(self, query: str, *args: object) -> str:
        self._plans.clear()
        await self.connection.fetch(query, *args)
        return "\n".join(self._plans)


@pytest.fixture
async def plans(queue: JobQueue, database_url: str) -> AsyncIterator[Plans]:
    for number in range(BATCHES):
        jobs = (Job("q", {"n": n}) for n in range(JOBS_PER_BATCH))
        await queue.enqueue_stream(JobBatch(f"b{number}", queue="q"), jobs)
    connection = await asyncpg.connect(database_url)
    try:
        for setting in (
            "LOAD 'auto_explain'",
            "SET auto_explain.log_min_duration = 0",
            "SET auto_explain.log_nested_statements = on",
            "SET auto_explain.log_level = notice",
        ):
            await connection.execute(setting)
        yield Plans(connection)
    finally:
        await connection.close()


@only_postgres
@pytest.mark.administrator  # who loads auto_explain
async def test_claim_report_progress_and_paging_among_a_million_jobs_use_indexes(plans: Plans, queue: JobQueue) -> None:
    await check_claim_and_report(plans)  # planned without statistics, as right after a first enqueue
    await plans.of("ANALYZE")
    await check_claim_and_report(plans)
    batch = (await queue.list_batches(limit=1))[0].batch_id
    queries = read_queries("hammerwork.backends.postgres", "queries.sql")
    check(await plans.of(queries["batch_statuses"], [batch]), "hammerwork_chunks_batch")
    page = await plans.of(queries["batch_jobs"], batch, 50_000, 100, None, [50_001], [50_100])
    check(page, "hammerwork_jobs_pkey", "hammerwork_chunks_batch")


async def check_claim_and_report(plans: Plans) -> None:
    worker = uuid.uuid4()
    claimed = await plans.of("SELECT * FROM hammerwork_claim($1, 'q', 100)", worker)
    check(claimed, "hammerwork_chunks_ready", "hammerwork_jobs_pkey")
    claim_id = await plans.connection.fetchval("SELECT max(id) FROM hammerwork_claims")
    settle = "SELECT hammerwork_settle($1, $2, 100, 100, 0, NULL, NULL, NULL, NULL)"
    check(await plans.of(settle, worker, claim_id), "hammerwork_chunks_pkey")


def check(plan: str, *indexes: str) -> None:
    for index in indexes:
        assert index in plan, plan
    # The tables of batches and failures have no or few rows here: reading all of them may be the best plan.
    assert not re.search(r"Seq Scan on hammerwork_(jobs|chunks)", plan), plan
