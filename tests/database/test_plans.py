"""The statements of the hot path use indexes, also in plans that are made before statistics exist (PostgreSQL)."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest

from hammerwork import Job, JobBatch
from hammerwork.backends.postgres.statements import statements
from tests.harness.observing import only_postgres

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
    connection = await asyncpg.connect(database_url)
    try:
        try:
            await connection.execute("LOAD 'auto_explain'")
        except asyncpg.UndefinedFileError:
            pytest.skip("this server has no auto_explain")
        for number in range(BATCHES):
            jobs = (Job("q", {"n": n}) for n in range(JOBS_PER_BATCH))
            await queue.enqueue_stream(JobBatch(f"b{number}", queue="q"), jobs)
        for setting in (
            "SET auto_explain.log_min_duration = 0",
            "SET auto_explain.log_nested_statements = on",
            "SET auto_explain.log_level = notice",
        ):
            await connection.execute(setting)
        yield Plans(connection)
    finally:
        await connection.close()


NEIGHBOURS = """
INSERT INTO hammerwork_batches (id, name, queue, failure_mode, state, suspended, total, completed, batch_size,
                                max_attempts, retry_policy, priorities, rank, sealed_at, finished_at)
    SELECT gen_random_uuid(), 'neighbour', 'q', 'ContinueOnError', CASE WHEN n = 0 THEN 'Pending' ELSE 'Completed' END,
           n = 0, 20000, 20000, 100, 1, '{}', '[[0, 2]]', 0, now(), CASE WHEN n > 0 THEN now() END
    FROM generate_series(0, 3000) AS n;
INSERT INTO hammerwork_chunks (batch_id, priority, state, attempt, lo, hi, size)
    SELECT b.id, 2, 'ready', 2, n, n, 1 FROM hammerwork_batches b, generate_series(0, 19999) AS n WHERE b.suspended
"""
"""Thousands of finished batches, and in front of all a suspended one whose retries are due."""


@only_postgres
@pytest.mark.administrator  # who loads auto_explain
async def test_claim_report_progress_and_paging_among_a_million_jobs_use_indexes(plans: Plans, queue: JobQueue) -> None:
    batch = next(found for found in await queue.list_batches(limit=1_000) if found.name == "b5").batch_id
    await check_claim_and_report(plans)  # planned without statistics, as right after a first enqueue
    await plans.connection.execute(NEIGHBOURS)
    await check_claim_and_report(plans)
    await plans.of("ANALYZE")
    await check_claim_and_report(plans)
    check(await plan_of(plans, "batch_statuses", batches=[batch]), "hammerwork_chunks_begun")
    window = await plan_of(plans, "job_window", batch=batch, first=50_001, last=50_100, longest=1_000)
    check(window, "hammerwork_chunks_batch", never="pages|chunks")


async def check_claim_and_report(plans: Plans) -> None:
    worker = uuid.uuid4()
    claimed = await plan_of(plans, "exchange", worker=worker, queue="q", limit=100, claims=1, reports=None)
    check(claimed, "hammerwork_ready_order", "hammerwork_chunks_ready", "hammerwork_pages_pkey")
    claim_id = await plans.connection.fetchval("SELECT max(id) FROM hammerwork_claims")
    report = msgspec.json.encode([{"claim": claim_id, "open": 100, "completed": 100, "failed": 0}]).decode()
    settled = await plan_of(plans, "exchange", worker=worker, queue="q", limit=0, claims=0, reports=report)
    check(settled, "hammerwork_claims_pkey", "hammerwork_chunks_pkey")


async def plan_of(plans: Plans, name: str, **values: object) -> str:
    statement = statements()[name]
    return await plans.of(statement.text, *statement.arguments(values))


def check(plan: str, *indexes: str, never: str = "pages|chunks|claims|ready") -> None:
    for index in indexes:
        assert index in plan, plan
    # The other tables have no or few rows here: reading all of them may be the best plan.
    assert not re.search(rf"Seq Scan on hammerwork_({never})\b", plan), plan
