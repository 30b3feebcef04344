"""What somebody writes into a batch, a payload or an error is shown by the commands and steers no terminal."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobFailedError, Worker
from tests.harness.hostile import HOSTILE, steering
from tests.programs.test_cli_commands import cli

if TYPE_CHECKING:
    from hammerwork import JobQueue

NAME = "[/red] [bold]'; DROP TABLE x; --"
"""Names of batches have printable characters only."""
KEY = HOSTILE[:40]


async def fail(_: Job) -> None:
    raise JobFailedError(f"{HOSTILE}\nsecond line", error_type=HOSTILE)


async def test_hostile_texts_are_stored_as_they_are_and_shown_escaped(queue: JobQueue, database_url: str) -> None:
    batch = JobBatch(NAME, queue="q").with_metadata(KEY, HOSTILE).add_job(Job("q", {HOSTILE: HOSTILE}))
    batch_id = await queue.enqueue_batch(batch)
    worker = Worker(queue, "q", fail)
    working = asyncio.create_task(worker.run())
    status = await queue.wait(batch_id, timeout=60)
    worker.stop()
    await working
    (job,) = await queue.get_batch_jobs(batch_id)
    assert (status.name, status.metadata, job.payload) == (NAME, {KEY: HOSTILE}, {HOSTILE: HOSTILE})
    assert [found.batch_id for found in await queue.list_batches(metadata={KEY: HOSTILE})] == [batch_id]
    for command in (["batches"], ["status", str(batch_id)], ["jobs", str(batch_id)], ["errors", str(batch_id)]):
        text = await cli(database_url, *command)
        assert steering(text) == set(), text
        assert "[bold]" in text
        assert command[0] == "batches" or r"\u001b[31mred" in "".join(text.split())
    answer = await cli(database_url, "jobs", str(batch_id), "--output", "json")
    assert steering(answer) == set(), answer
    assert json.loads(answer)[0]["payload"] == {HOSTILE: HOSTILE}
