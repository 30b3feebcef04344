"""A worker process for tests that kill it. Its handler writes a ledger: a row before and a row after each run.

    python vanishing_worker.py URL INSTANCE KILLS HANGS

Jobs whose payload is in KILLS (a JSON list) end the process at once; those in HANGS never end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from hammerwork import Job, JobQueue, Worker
from tests.harness import observing


async def main(url: str, instance: str, kills: list[int], hangs: list[int]) -> None:
    async with await JobQueue.connect(url) as queue, observing.sql(url) as sql:
        lock = asyncio.Lock()

        async def note(job: Job, what: str) -> None:
            async with lock:  # one statement at a time on a connection
                await sql.run(f"INSERT INTO ledger (idx, worker, what) VALUES ({job.index}, '{worker.id}', '{what}')")

        async def handler(job: Job) -> None:
            await note(job, "start")
            if job.payload in kills:
                os.kill(os.getpid(), signal.SIGKILL)
            if job.payload in hangs:
                await asyncio.sleep(3_600)
            await note(job, "end")

        worker = Worker(queue, "q", handler, instance=instance).with_concurrency(4)
        print(worker.id, flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])))
