"""What the database refuses of a report is written otherwise, of its own job; the rest is stored as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState, Job, JobBatch, JobStatus, PartialFailureMode, Worker
from tests.harness.observing import all_jobs, finished, running

if TYPE_CHECKING:
    from hammerwork import JobQueue
    from tests.harness.observing import Sql

COLLECT = PartialFailureMode.COLLECT_ERRORS


async def refuse(sql: Sql, database_url: str, pattern: str) -> None:
    """Have the database refuse errors whose message matches a pattern."""
    no_match = "message !~ " if database_url.startswith("postgres") else "message NOT REGEXP "
    await sql.run(f"ALTER TABLE hammerwork_failures ADD CONSTRAINT odd CHECK ({no_match} '{pattern}')")


@pytest.mark.every_server
async def test_a_text_that_the_database_refuses_is_stored_in_ascii(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    await refuse(sql, database_url, "\N{EURO SIGN}")
    messages = ["20 \N{EURO SIGN}", "20 dollars", "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n"]

    async def handler(job: Job) -> None:
        raise ValueError(messages[job.payload])

    batch = JobBatch("mail").with_jobs(Job("q", n) for n in range(3)).with_batch_size(1).with_max_attempts(1)
    batch_id = await queue.enqueue_batch(batch.with_partial_failure_handling(COLLECT))
    async with running(Worker(queue, "q", handler)):
        assert (await finished(queue, batch_id)).state is BatchState.COMPLETED_WITH_ERRORS
    errors = [job.error for job in await all_jobs(queue, batch_id, JobStatus.FAILED)]
    assert [(error.type, error.message) for error in errors if error] == [
        ("ValueError", "20 \\u20ac"),
        ("ValueError", messages[1]),
        ("ValueError", messages[2]),
    ]


@pytest.mark.every_server
async def test_a_text_that_the_database_refuses_in_any_form_is_left_out(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    await refuse(sql, database_url, "secret")

    async def handler(job: Job) -> None:
        raise ValueError("secret" if job.payload else "no")

    batch = JobBatch("mail").with_jobs(Job("q", n) for n in range(2)).with_batch_size(1).with_max_attempts(1)
    batch_id = await queue.enqueue_batch(batch)
    async with running(Worker(queue, "q", handler)):
        assert (await finished(queue, batch_id)).failed_jobs == 2
    found = {group.type: group.message for group in await queue.get_batch_errors(batch_id)}
    assert found["ValueError"] == "no"
    assert found["Unstorable"].startswith("the error could not be stored: ")
    assert "secret" not in found["Unstorable"]
