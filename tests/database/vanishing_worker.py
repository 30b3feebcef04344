"""A worker process for tests that kill it. Its handler keeps the ledger; some jobs end the process, some never end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec

from hammerwork import Job, JobQueue, Worker
from tests.harness.ledger import LedgerWriter
from tests.harness.processes import told


class Order(msgspec.Struct):
    """What the process is told."""

    database_url: str
    ledger: str
    instance: str = ""
    kills: tuple[int, ...] = ()
    """Payloads of the jobs that end the process at once."""
    hangs: tuple[int, ...] = ()
    """Payloads of those that never end."""


async def main(order: Order) -> None:
    async with await JobQueue.connect(order.database_url) as queue:

        async def handler(job: Job) -> None:
            run = ledger.start(job)
            if job.payload in order.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            if job.payload in order.hangs:
                await asyncio.sleep(3_600)
            ledger.end(run, "done")

        worker = Worker(queue, "q", handler, instance=order.instance).with_concurrency(4)
        ledger = LedgerWriter(Path(order.ledger), str(worker.id))
        print(worker.id, flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(told(Order)))
