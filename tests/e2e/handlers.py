"""Handlers of the end-to-end tests. A ConfigMap mounts this file into the worker Pods as /app/handlers/handlers.py.

Each run of a job leaves one row in the ledger, a table of its own beside the queue's, so that the tests can tell
what ran without asking the queue.
"""

from __future__ import annotations

import asyncio
import functools
import os
import uuid
from typing import TYPE_CHECKING

import asyncpg

from hammerwork import batch_handler

if TYPE_CHECKING:
    from hammerwork import Job


@functools.cache
def _process() -> str:
    return f"{os.environ['HAMMERWORK_POD_NAME']}:{uuid.uuid4()}"


@functools.cache
def _ledger() -> asyncio.Task[asyncpg.Pool]:
    pool = asyncpg.create_pool(os.environ["HAMMERWORK_DATABASE_URL"], min_size=1, max_size=4)
    return asyncio.ensure_future(_opened(pool))


async def _opened(pool: asyncpg.Pool) -> asyncpg.Pool:
    return await pool


async def record(job: Job) -> None:
    """Enter the run in the ledger, then work for payload.milliseconds."""
    ledger = await _ledger()
    await ledger.execute(
        "INSERT INTO ledger.runs (batch, idx, attempt, process) VALUES ($1, $2, $3, $4)",
        job.batch_id,
        job.index,
        job.attempt,
        _process(),
    )
    await asyncio.sleep(job.payload.get("milliseconds", 0) / 1000)


async def hang_at_first(job: Job) -> None:
    """Like `record`, but the first run of a job with payload.hangs goes on until its process ends."""
    await record(job)
    sql = "SELECT count(*) FROM ledger.runs WHERE batch = $1 AND idx = $2"
    if job.payload.get("hangs") and await (await _ledger()).fetchval(sql, job.batch_id, job.index) == 1:
        await asyncio.sleep(3600)


async def eat_memory(job: Job) -> None:
    """Like `record`, but the job whose payload.index is 3 takes more memory than any limit of these tests."""
    await record(job)
    if job.payload["index"] == 3:
        print(len(b"x" * 2**31))


async def fail_some(job: Job) -> None:
    """Like `record`, but each job whose payload.index ends in 3 or is 50 does not succeed."""
    await record(job)
    if job.payload["index"] % 10 == 3:
        raise ValueError(f"no such address: user{job.payload['index']}")
    if job.payload["index"] == 50:
        raise LookupError("nobody has the number 50")


@batch_handler
async def nothing(jobs: list[Job]) -> None:
    """Do nothing, for all jobs of a claim at a time; what takes time is all else."""
