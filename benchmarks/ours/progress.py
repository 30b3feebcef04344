"""The progress query on a batch of a million jobs."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

from benchmarks.measuring import percentile
from benchmarks.payload import QUEUE, load_jobs
from benchmarks.processes import ProgramError
from benchmarks.servers import Postgres
from hammerwork import JobQueue

if TYPE_CHECKING:
    from uuid import UUID

    from benchmarks.measuring import Load

_QUERIES = 200
_SESSIONS = 2

# A worker that claims one job at a time, without the wire between: the functions that a worker calls, each exchange
# committed by itself.
_CLAIM_ONE_BY_ONE = """
DO $$
DECLARE
    v_worker uuid := '{worker}';
    v_held bigint;
BEGIN
    SELECT claim_id INTO v_held FROM hammerwork_exchange_1(v_worker, '{queue}', 1, 1, NULL);
    FOR i IN 1 .. {claims} LOOP
        COMMIT;
        SELECT claim_id INTO v_held
            FROM hammerwork_exchange_1(v_worker, '{queue}', 1, 1, json_build_array(json_build_object(
                'claim', v_held, 'open', 1, 'completed', 1, 'failed', 0)));
        WHILE v_held IS NULL LOOP  -- another session is at the chunk
            COMMIT;
            SELECT claim_id INTO v_held FROM hammerwork_exchange_1(v_worker, '{queue}', 1, 1, NULL);
        END LOOP;
    END LOOP;
END $$
"""


async def progress(load: Load) -> dict[str, float]:
    """Ask for the counts of a loaded batch, and again when nearly all of its jobs have been claimed one by one."""
    count = load.scaled(1_000_000, least=10_000)
    claims = count // _SESSIONS - 10  # so that some jobs are still there, and one is running in each session
    server = load.server
    url = await server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        batch_id = await load_jobs(queue, count)
        figures = {"progress-p99": await _milliseconds(queue, batch_id)}
        if isinstance(server, Postgres):
            await asyncio.gather(*(_claim_one_by_one(server, url, claims) for _ in range(_SESSIONS)))
            figures["progress-claimed-p99"] = await _milliseconds(queue, batch_id)
            status = await queue.get_batch_status(batch_id)
            if (status.completed_jobs, status.running_jobs) != (claims * _SESSIONS, _SESSIONS):
                raise ProgramError(
                    f"progress: {status.completed_jobs:,} completed and {status.running_jobs} running instead of "
                    f"{claims * _SESSIONS:,} and {_SESSIONS}"
                )
    await server.drop_database(url)
    return figures


async def _milliseconds(queue: JobQueue, batch_id: UUID) -> float:
    times = []
    for _ in range(_QUERIES):
        started = time.perf_counter()
        await queue.get_batch_status(batch_id)
        times.append((time.perf_counter() - started) * 1000)
    return percentile(times, 99)


async def _claim_one_by_one(server: Postgres, url: str, claims: int) -> None:
    async with server.connection(url) as connection:
        # Only the state afterwards matters here.
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(_CLAIM_ONE_BY_ONE.format(worker=uuid.uuid4(), queue=QUEUE, claims=claims), timeout=600)
