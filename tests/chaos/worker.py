"""The program of a worker process: a real worker whose handler keeps the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hammerwork import Job, JobFailedError, JobQueue, Worker
from hammerwork.errors import DatabaseUnavailableError
from tests.chaos.clock import derange
from tests.chaos.plan import QUEUE, Deed, WorkerPlan
from tests.harness.ledger import LedgerWriter
from tests.harness.processes import told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hammerwork.backends.protocol import Heard, Lifeline, WorkerRecord

NO_DATABASE = 75
"""Exit code: the database could not be reached at the start."""
_SHOUT_CHARACTERS = 5_000
"""Each takes four bytes."""
_PULSE_SECONDS = 0.1
_STANDSTILL_SECONDS = 0.25


class WorkerOrder(msgspec.Struct, kw_only=True):
    """What a process is told."""

    database_url: str
    ledger: str
    process: str
    """Name of the process, never used twice."""
    lease_seconds: float
    plan: WorkerPlan


class ChaoticHandler:
    """Does what a job's payload asks for, and records it."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger

    async def __call__(self, job: Job) -> None:
        """Run a job."""
        run = self._ledger.start(job)
        try:
            await self._do(job, run)
        except asyncio.CancelledError:
            self._ledger.end(run, "cut")
            raise
        except JobFailedError:
            self._ledger.end(run, "refuse")
            raise
        except Exception:
            self._ledger.end(run, "fail")
            raise
        self._ledger.end(run, "done")

    async def _do(self, job: Job, run: int) -> None:
        deed = Deed(job.payload["deed"])
        if deed is Deed.SLOW:
            await asyncio.sleep(job.payload["seconds"])
        elif deed is Deed.HANG:
            await asyncio.sleep(3600)
        elif deed is Deed.BLOCK:
            time.sleep(job.payload["seconds"])  # noqa: ASYNC251 (as a handler does that should not)
        elif deed is Deed.SHOUT:
            raise ValueError("\N{COLLISION SYMBOL}" * _SHOUT_CHARACTERS)
        elif deed is Deed.POISON:
            self._ledger.end(run, "die")
            os.kill(os.getpid(), signal.SIGKILL)
        elif deed is Deed.REFUSE:
            raise JobFailedError("asked to")
        elif deed is Deed.FAIL or (deed is Deed.FLAKY and job.attempt == 1):
            raise ValueError(f"asked to at attempt {job.attempt}")


async def _watch_standstills(ledger: LedgerWriter) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(_PULSE_SECONDS)
        if time.monotonic() - last > _PULSE_SECONDS + _STANDSTILL_SECONDS:
            ledger.standstill(last)
        last = time.monotonic()


def _record_heartbeats(queue: JobQueue, ledger: LedgerWriter) -> None:
    open_lifeline = queue.backend.lifeline

    async def lifeline(name: str, wake: Callable[[], None]) -> Lifeline:
        line = await open_lifeline(name, wake)
        beat = line.heartbeat

        async def heartbeat(worker: WorkerRecord, known: WorkerRecord | None, held: Sequence[int]) -> Heard:
            sent = time.monotonic()
            heard = await beat(worker, known, held)
            ledger.heartbeat(sent, worker.id, held)
            return heard

        line.heartbeat = heartbeat  # type: ignore[method-assign]
        return line

    queue.backend.lifeline = lifeline  # type: ignore[method-assign, assignment]


async def _run(order: WorkerOrder) -> int:
    ledger = LedgerWriter(Path(order.ledger), order.process)
    plan = order.plan
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_reader(sys.stdin.fileno(), stopping.set)  # it ends with the test
    try:
        queue = await JobQueue.connect(order.database_url, connect_timeout=5)
    except DatabaseUnavailableError as error:
        logging.getLogger(__name__).warning("no start: %s", error)
        return NO_DATABASE
    _record_heartbeats(queue, ledger)
    watch = asyncio.create_task(_watch_standstills(ledger))
    async with queue:
        worker = Worker(
            queue,
            QUEUE,
            ChaoticHandler(ledger),
            instance=f"place-{plan.number}" if plan.named else "",
            lease_seconds=order.lease_seconds,
        )
        worker.with_concurrency(plan.lanes).with_batch_processing_enabled(plan.batch_processing)
        worker.with_shutdown_grace_period(3.0)
        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _task: worker.stop())
        run = asyncio.create_task(worker.run())
        loop.add_signal_handler(signal.SIGUSR1, run.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await run
        stop.cancel()
    loop.remove_reader(sys.stdin.fileno())
    watch.cancel()
    return 0


def _main() -> int:
    order = told(WorkerOrder)
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {order.process} %(name)s %(levelname)s %(message)s")
    if order.plan.clock_hours:
        derange(order.plan.clock_hours)
    return asyncio.run(_run(order))


if __name__ == "__main__":
    sys.exit(_main())
