"""What a worker does with a database that is damaged, or that refuses what it says: it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState, Job, JobBatch, JobStatus, Worker
from tests.harness import observing
from tests.harness.observing import all_jobs, finished, happens, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork import JobQueue
    from tests.harness.observing import Sql


@pytest.mark.parametrize("missing", [0, 2, 4])
async def test_one_page_of_several_that_is_missing_costs_the_claims_with_its_jobs(
    queue: JobQueue, sql: Sql, missing: int
) -> None:
    """No job runs with the payload of another one, wherever in a claim the gap is."""
    ran: set[int] = set()

    async def handler(job: Job) -> None:
        assert job.payload == job.index
        if job.batch_id != whole:
            ran.add(job.index)

    damaged = JobBatch("damaged", queue="q").with_batch_size(1_000)
    batch_id = await queue.enqueue_stream(damaged, (Job("q", n) for n in range(1_000)))
    pages = await sql.rows("SELECT lo, hi FROM hammerwork_pages WHERE batch_id = $1 ORDER BY lo", batch_id)
    assert len(pages) >= 5
    lo, hi = pages[missing]
    await sql.run("DELETE FROM hammerwork_pages WHERE batch_id = $1 AND lo = $2", batch_id, lo)
    whole = await queue.enqueue_batch(JobBatch("whole").with_jobs(Job("q", n) for n in range(5)))
    async with running(Worker(queue, "q", handler).with_concurrency(50)):
        status = await finished(queue, batch_id)
        assert (await finished(queue, whole)).completed_jobs == 5
    assert status.state is BatchState.COMPLETED_WITH_ERRORS
    assert status.failed_jobs >= hi - lo + 1
    assert status.completed_jobs + status.failed_jobs == 1_000
    assert len(ran) == status.completed_jobs
    failed = {idx for (idx,) in await sql.rows("SELECT idx FROM hammerwork_failures WHERE batch_id = $1", batch_id)}
    assert failed >= set(range(lo, hi + 1))
    assert not failed & ran, "what failed did not run"
    assert [error.type for error in await queue.get_batch_errors(batch_id)] == ["PayloadMissingError"]
    listed = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert {job.index for job in listed} == failed
    assert {job.index for job in listed if job.payload is None} == set(range(lo, hi + 1))
    assert all(job.payload in {job.index, None} for job in await all_jobs(queue, batch_id))


@contextlib.asynccontextmanager
async def breaking(sql: Sql, event: str, table: str, when: str = "TRUE") -> AsyncIterator[None]:
    """Let a statement fail during the block, with an error that is in no list; `when` is about the row NEW."""
    begin = f"CREATE TRIGGER broken BEFORE {event} ON {table} FOR EACH ROW"
    if isinstance(sql, observing.MysqlSql):
        await sql.run(f"{begin} IF {when} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a trigger'; END IF")
        yield
        await sql.run("DROP TRIGGER broken")
    else:
        raising = "$$ BEGIN RAISE EXCEPTION 'a trigger'; END $$"
        await sql.run(f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS {raising}")
        await sql.run(f"{begin} WHEN ({when}) EXECUTE FUNCTION broken()")
        yield
        await sql.run(f"DROP TRIGGER broken ON {table}")


async def test_a_worker_outlasts_a_database_that_fails_each_of_its_exchanges(
    queue: JobQueue, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """With an error that is neither about the connection nor about rights; what has run is reported, once."""
    runs: list[int] = []
    gate = asyncio.Event()

    async def handler(job: Job) -> None:
        runs.append(job.index)
        await gate.wait()

    batch_id = await queue.enqueue_batch(JobBatch("b").with_batch_size(2).with_jobs(Job("q", n) for n in range(10)))
    worker = Worker(queue, "q", handler).with_concurrency(4)
    async with running(worker):
        await happens(lambda: len(runs) == 4)
        async with breaking(sql, "UPDATE", "hammerwork_chunks"):
            gate.set()
            await happens(lambda: caplog.text.count("claim and report failed: ") >= 3)
            assert "a trigger; retrying in" in caplog.text
            assert (await queue.get_batch_status(batch_id)).completed_jobs == 0
        status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 10)
    assert sorted(runs) == list(range(10))


async def test_an_error_that_the_database_does_not_take_is_replaced_and_the_other_reports_go_through(
    queue: JobQueue, sql: Sql
) -> None:
    """Of several reports that are refused together, each is sent alone; then without its errors."""

    async def handler(job: Job) -> None:
        raise ValueError("poison" if job.payload == 13 else "plain")

    await queue.pause_queue("q")
    batches = [
        await queue.enqueue_batch(JobBatch(f"b{n}").with_max_attempts(1).with_jobs([Job("q", n), Job("q", n)]))
        for n in range(10, 16)
    ]
    taken = breaking(sql, "INSERT", "hammerwork_failures", "NEW.message LIKE '%poison%'")
    async with taken, running(Worker(queue, "q", handler).with_concurrency(20)):
        await queue.resume_queue("q")
        for number, batch_id in enumerate(batches, start=10):
            status = await finished(queue, batch_id)
            assert status.failed_jobs == 2
            (error,) = await queue.get_batch_errors(batch_id)
            assert (error.type, error.count) == (("Unstorable" if number == 13 else "ValueError"), 2)
            if number == 13:
                assert "a trigger" in error.message


async def test_a_report_that_is_refused_whatever_it_says_is_given_up(
    queue: JobQueue, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its jobs go back; the worker goes on with others."""
    monkeypatch.setattr("hammerwork.working.pump.BACKOFF_SECONDS", (0.0,))
    monkeypatch.setattr("hammerwork.timing.BACKOFF_SECONDS", (0.01,))
    refused = await queue.enqueue_batch(JobBatch("refused").with_max_attempts(1).with_jobs([Job("q", 1)]))
    literal = f"x'{refused.hex}'" if isinstance(sql, observing.MysqlSql) else f"'{refused}'"

    async def handler(job: Job) -> None:
        if job.batch_id == refused:
            raise ValueError("no")

    async with running(Worker(queue, "q", handler, lease_seconds=1.2)):
        async with breaking(sql, "INSERT", "hammerwork_failures", f"NEW.batch_id = {literal}"):
            await happens(lambda: "the database refuses its report; its jobs are released" in caplog.text)
            other = await queue.enqueue_batch(JobBatch("other").with_jobs(Job("q", n) for n in range(5)))
            assert (await finished(queue, other)).completed_jobs == 5
        await sql.age_claims()
        assert (await finished(queue, refused)).failed_jobs == 1
