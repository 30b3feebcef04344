"""Jobs per second: enqueue, drain, and both at once; with what they cost in WAL and memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.memory import MIB
from benchmarks.ours.draining import check_counts, drain, workers
from benchmarks.payload import load_jobs
from benchmarks.processes import ProgramError, our_program, running
from benchmarks.servers import Postgres
from hammerwork import JobQueue

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.measuring import Load

_PIPELINE_BATCHES = 10


async def enqueue_and_drain(load: Load) -> dict[str, float]:
    """Enqueue jobs that exist, drain them with one process."""
    server = load.server
    url = await server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        wal = await _wal_position(load)
        enqueued = await _enqueue(url, load.jobs, "made")
        wal_enqueued = await _wal_position(load)
        # The program has left two batches: a small first one and the measured one.
        measured, first = await queue.list_batches()
        await queue.delete_batch(first.batch_id)
        await server.settle(url)
        wal_settled = await _wal_position(load)
        drained = await drain(queue, url, measured.batch_id)
        figures = {
            "enqueue": load.jobs / enqueued["seconds"],
            "drain-1": load.jobs / drained.seconds,
            "worker-memory": drained.peak_mib,
        }
        if wal is not None and wal_enqueued is not None and wal_settled is not None:
            figures["enqueue-wal"] = (wal_enqueued - wal) / (load.jobs + first.total_jobs)
            figures["drain-wal"] = ((await _wal_position(load) or 0) - wal_settled) / load.jobs
    await server.drop_database(url)
    return figures


async def drain_with_two(load: Load) -> dict[str, float]:
    """Drain with two processes."""
    url = await load.server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        batch_id = await load_jobs(queue, load.jobs)
        await load.server.settle(url)
        drained = await drain(queue, url, batch_id, processes=2)
    await load.server.drop_database(url)
    return {"drain-2": load.jobs / drained.seconds}


async def enqueue_streamed(load: Load) -> dict[str, float]:
    """Enqueue from a generator; tells the memory that a million jobs take."""
    count = load.scaled(1_000_000, least=10_000)
    url = await load.server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        enqueued = await _enqueue(url, count, "streamed")
    await load.server.drop_database(url)
    return {"enqueue-streamed": count / enqueued["seconds"], "enqueue-memory": enqueued["added_bytes"] / MIB}


async def pipeline(load: Load) -> dict[str, float]:
    """Enqueue batches while a worker drains them."""
    per_batch = max(1, load.jobs // _PIPELINE_BATCHES)
    url = await load.server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        async with workers(url, processes=1, lanes=10, handler="noop") as [worker]:
            worker.tell("go")
            started = time.time()
            ids = [await load_jobs(queue, per_batch) for _ in range(_PIPELINE_BATCHES)]
            statuses = [await queue.wait(batch_id, timeout=300, interval=0.05) for batch_id in ids]
            worker.tell("stop")
            ran = (await worker.answer())["jobs"]
    for status in statuses:
        check_counts(status, status.total_jobs)
    if ran != per_batch * _PIPELINE_BATCHES:
        raise ProgramError(f"pipeline: the worker ran {ran:,} jobs of {per_batch * _PIPELINE_BATCHES:,}")
    await load.server.drop_database(url)
    ended = max(status.finished_at.timestamp() for status in statuses if status.finished_at is not None)
    return {"pipeline": ran / (ended - started)}


async def _enqueue(url: str, count: int, how: str) -> dict[str, Any]:
    async with running(our_program("enqueue", url, count, how)) as program:
        answer = await program.answer()
    if answer["jobs"] != count:
        raise ProgramError(f"enqueue of {count:,} jobs: {answer['jobs']:,} are in the database")
    return answer


async def _wal_position(load: Load) -> int | None:
    return await load.server.wal_position() if isinstance(load.server, Postgres) else None
