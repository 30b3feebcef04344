"""pgqueuer as a peer: ``program.py prepare|enqueue|drain URL [JOBS]``. See benchmarks/peers/__init__.py."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

JOBS_PER_CALL = 5_000
JOBS_PER_FETCH = 1_000


async def prepare(url: str) -> None:
    """Create the tables, with the default durability: all of them logged."""
    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def enqueue(url: str, jobs: int) -> None:
    """Enqueue through the array form of `enqueue`."""
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    payloads = [{"user": user, "email": "user1@example.com", "s": "hello world"} for user in range(jobs)]
    started = time.perf_counter()
    for at in range(0, jobs, JOBS_PER_CALL):
        part = [json.dumps(payload).encode() for payload in payloads[at : at + JOBS_PER_CALL]]
        await queries.enqueue(["noop"] * len(part), part, [0] * len(part))
    print(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - started}))
    await connection.close()


async def drain(url: str) -> None:
    """Run jobs until the queue is empty."""
    connection = await asyncpg.connect(url)
    queue = PgQueuer(AsyncpgDriver(connection))
    jobs = 0

    @queue.entrypoint("noop")
    async def noop(_job: object) -> None:
        nonlocal jobs
        jobs += 1

    print("ready", flush=True)
    sys.stdin.readline()
    started = time.time()
    await queue.run(
        batch_size=JOBS_PER_FETCH, mode=QueueExecutionMode.drain, log_aggregation_interval=timedelta(0)
    )  # no statistics while measuring
    print(json.dumps({"jobs": jobs, "started": started, "ended": time.time()}))
    await connection.close()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "enqueue":
        uvloop.run(enqueue(arguments[0], int(arguments[1])))
    else:
        uvloop.run({"prepare": prepare, "drain": drain}[command](arguments[0]))
