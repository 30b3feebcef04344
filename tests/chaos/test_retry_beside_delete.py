"""A batch is deleted while its failed jobs are being retried, and workers run them: it is gone, with all its rows."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from hammerwork import BatchConflictError, BatchNotFoundError, Job, JobBatch, JobQueue, PartialFailureMode, Worker
from hammerwork.backends import storing
from hammerwork.backends.mysql import backend as mysql
from hammerwork.backends.postgres import backend as postgres
from tests.harness.observing import eventually, finished, running, sql

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

JOBS = 300
ROUNDS = 25


async def fail(_job: Job) -> None:
    raise ValueError("\N{COLLISION SYMBOL}" * 2_000)


async def test_a_batch_that_is_deleted_while_it_is_retried_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((storing, "DELETE_ROWS"), (postgres, "RETRY_JOBS"), (mysql, "RETRY_JOBS")):
        monkeypatch.setattr(module, name, 25)  # so that both go in many transactions
    dice = random.Random(5)
    async with await JobQueue.connect(database_url) as queue, sql(database_url) as connection:
        await queue.create_tables()

        async def retry(batch_id: UUID) -> None:
            with contextlib.suppress(BatchNotFoundError, BatchConflictError):
                await queue.retry_failed(batch_id)

        within = 0
        async with running(*(Worker(queue, "q", fail) for _ in range(2))):
            for _ in range(ROUNDS):
                batch = (
                    JobBatch("mail")
                    .with_jobs(Job("q", n) for n in range(JOBS))
                    .with_max_attempts(1)
                    .with_batch_size(30)
                    .with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
                )
                batch_id = await queue.enqueue_batch(batch)
                assert (await finished(queue, batch_id)).failed_jobs == JOBS
                retrying = asyncio.gather(retry(batch_id), retry(batch_id))
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.002, 0.005, 0.01)))
                within += not retrying.done()
                assert await queue.delete_batch(batch_id)
                await retrying
            assert within, "each retry had ended before its deletion began"
            await eventually(connection.stored_rows, lambda rows: rows == {})
