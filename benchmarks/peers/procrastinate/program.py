"""procrastinate as a peer: ``program.py prepare|enqueue|drain URL [JOBS]``. See benchmarks/peers/__init__.py."""

from __future__ import annotations

import json
import logging
import sys
import time

import procrastinate
import uvloop

JOBS_PER_CALL = 1_000
CONCURRENCY = 20

logging.disable(logging.CRITICAL)  # a line for each job, and that this is the main module
blueprint = procrastinate.Blueprint()
done = 0


@blueprint.task(name="noop", queue="default")
async def noop(user: int, email: str, s: str) -> None:  # noqa: ARG001 (the payload's fields)
    """Count."""
    global done  # noqa: PLW0603 (tasks are plain functions)
    done += 1


def application(url: str) -> procrastinate.App:
    """Return the application on the database at `url`."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=CONCURRENCY))
    app.add_tasks_from(blueprint, namespace="peer")
    return app


async def prepare(url: str) -> None:
    """Create the tables."""
    async with application(url).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def enqueue(url: str, jobs: int) -> None:
    """Enqueue with `batch_defer_async`."""
    async with application(url).open_async() as app:
        payloads = [{"user": user, "email": "user1@example.com", "s": "hello world"} for user in range(jobs)]
        task = app.tasks["peer:noop"]
        started = time.perf_counter()
        for at in range(0, jobs, JOBS_PER_CALL):
            await task.batch_defer_async(*payloads[at : at + JOBS_PER_CALL])
        print(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - started}))


async def drain(url: str) -> None:
    """Run jobs until the queue is empty; finished jobs are kept, as by default."""
    async with application(url).open_async() as app:
        print("ready", flush=True)
        sys.stdin.readline()
        started = time.time()
        await app.run_worker_async(wait=False, concurrency=CONCURRENCY, install_signal_handlers=False)
        print(json.dumps({"jobs": done, "started": started, "ended": time.time()}))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "enqueue":
        uvloop.run(enqueue(arguments[0], int(arguments[1])))
    else:
        uvloop.run({"prepare": prepare, "drain": drain}[command](arguments[0]))
