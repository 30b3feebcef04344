"""Handlers that take their time, and jobs that come one at a time."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from benchmarks.measuring import percentile
from benchmarks.ours.draining import drain, workers
from benchmarks.payload import MAX_BATCH_SIZE, QUEUE, make_batch
from benchmarks.processes import ProgramError, our_program, running
from hammerwork import Job, JobBatch, JobQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Load

_SHORT_JOBS = 20_000
_SHORT_LANES = 100
_MIXED_MILLISECONDS = (1, 2, 5, 10, 20, 50, 100)


async def handlers_of_10ms(load: Load) -> dict[str, float]:
    """Many short waits in many lanes."""
    count = load.scaled(_SHORT_JOBS, least=1_000)
    ideal, seconds = await _sleepers(load, [0.01] * count, processes=1, lanes=_SHORT_LANES)
    return {"handlers-10ms": 100 * ideal / seconds}


async def sleeps_of_10ms(load: Load) -> dict[str, float]:
    """The same waits without a queue."""
    count = load.scaled(_SHORT_JOBS, least=1_000)
    async with running(our_program("bare_lanes", count, _SHORT_LANES, 0.01)) as program:
        answer = await program.answer()
    if answer["jobs"] != count:
        raise ProgramError(f"sleeps without a queue: {answer['jobs']:,} of {count:,}")
    return {"handlers-10ms": 100 * count * 0.01 / _SHORT_LANES / answer["seconds"]}


async def mixed_durations(load: Load) -> dict[str, float]:
    """Short and long waits in a random order."""
    count = load.scaled(4_000, least=500)
    durations = [_MIXED_MILLISECONDS[n % len(_MIXED_MILLISECONDS)] / 1000 for n in range(count)]
    random.Random(1).shuffle(durations)
    ideal, seconds = await _sleepers(load, durations, processes=2, lanes=20)
    return {"mixed-durations": 100 * ideal / seconds}


async def slow_jobs(load: Load) -> dict[str, float]:
    """Two claims would hold all jobs; they must spread over all lanes nevertheless."""
    ideal, seconds = await _sleepers(load, [1.0] * 200, processes=2, lanes=10, batch_size=100)
    return {"slow-jobs": seconds / ideal}


async def _sleepers(
    load: Load, durations: Sequence[float], *, processes: int, lanes: int, batch_size: int = MAX_BATCH_SIZE
) -> tuple[float, float]:
    """Return the ideal and the real time in seconds."""
    url = await load.server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        jobs = [Job(QUEUE, {"seconds": seconds}) for seconds in durations]
        batch_id = await queue.enqueue_stream(make_batch("sleepers", batch_size), jobs)
        drained = await drain(queue, url, batch_id, processes=processes, lanes=lanes, handler="sleep")
    await load.server.drop_database(url)
    return sum(durations) / (processes * lanes), drained.seconds


async def pickup(load: Load) -> dict[str, float]:
    """Enqueue single jobs to an idle worker; both processes read the same clock."""
    count = load.scaled(300, least=20)
    pauses = random.Random(1)
    url = await load.server.fresh_database()
    called: dict[int, float] = {}
    enqueued: dict[int, float] = {}
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        async with workers(url, processes=1, lanes=10, handler="clock") as [worker]:
            worker.tell("go")
            for number in range(-1, count):  # until the first one has run, the worker is still on its way
                batch = JobBatch("single").with_jobs([Job(QUEUE, {"number": number})])
                called[number] = time.time()
                batch_id = await queue.enqueue_batch(batch)
                enqueued[number] = time.time()
                await queue.wait(batch_id, timeout=60, interval=0.02)
                await asyncio.sleep(pauses.uniform(0.01, 0.03))
            worker.tell("stop")
            began: dict[int, float] = dict((await worker.answer())["calls"])
    await load.server.drop_database(url)
    if began.keys() != called.keys():
        raise ProgramError(f"pick-up: {len(called)} jobs were enqueued, {len(began)} ran")
    since_call = [(began[number] - called[number]) * 1000 for number in range(count)]
    since_return = [(began[number] - enqueued[number]) * 1000 for number in range(count)]
    return {
        "pickup-p50": percentile(since_return, 50),
        "pickup-p99": percentile(since_return, 99),
        "enqueue-to-start-p50": percentile(since_call, 50),
        "enqueue-to-start-p99": percentile(since_call, 99),
    }
