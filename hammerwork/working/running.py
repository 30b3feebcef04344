"""One worker from its settings to its end: handler, database, jobs. What a process of its own does, and a container."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from hammerwork.errors import DatabaseError, DatabaseRefusedError
from hammerwork.queue import JobQueue
from hammerwork.timing import STUCK_SECONDS
from hammerwork.working.reporting import ProcessReport
from hammerwork.working.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hammerwork.handlers import Handler
    from hammerwork.working.settings import ProcessSettings

logger = logging.getLogger("hammerwork.worker")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class WorkerRun:
    """Runs the worker that `settings` describe: first `load`, then `run`. `report` may be called in any thread."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._handler: Handler | None = None
        self._worker: Worker | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Shut the worker down, or give up connecting; `run` returns then."""
        self._stopping.set()

    def load(self) -> None:
        """Import the handler, which may take minutes, in the thread that calls.

        Raises:
            HandlerError: It cannot be loaded.
        """
        self._handler = self._settings.handler.load()

    async def run(self) -> None:
        """Connect to the database, however long that takes, and work until `stop`.

        Raises:
            DatabaseRefusedError: Trying again does not help.
            IncompatibleDatabaseError: Only newer versions may work on the database.
        """
        assert self._handler is not None
        queue = await _first_of(_connect(self._settings.database_url), self._stopping)
        if queue is None:
            return
        async with queue:
            worker = Worker.from_settings(queue, self._settings, self._handler)
            self._worker = worker
            logger.info("working on queue %s with %d lanes", self._settings.queue, self._settings.concurrency)
            stopper = asyncio.create_task(_stop_when_set(worker, self._stopping))
            try:
                await worker.run()
            finally:
                stopper.cancel()

    def report(self) -> ProcessReport:
        """Return how it is now."""
        worker = self._worker
        if worker is None:
            missing = "the database has not been reached yet" if self._handler is not None else "importing the handler"
            return ProcessReport(not_ready=missing)
        return ProcessReport(
            stats=worker.get_batch_stats(),
            busy_lanes=worker.busy_lanes,
            not_ready=None if worker.ready else "the database was not reached in the last heartbeat",
            unhealthy=None if worker.healthy else f"the worker's loop has not moved for {STUCK_SECONDS:.0f} s",
        )


async def _stop_when_set(worker: Worker, stopping: asyncio.Event) -> None:
    await stopping.wait()
    worker.stop()


async def _connect(url: str) -> JobQueue:
    """Return the queue once its database answers and has the tables, however long that takes."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await _open(url)
        except DatabaseRefusedError:
            raise
        except DatabaseError as error:
            logger.warning("the database cannot be reached, retrying in %.1f s: %s", pause, error)
        await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311 (spreads the tries of many processes)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _open(url: str) -> JobQueue:
    queue = await JobQueue.connect(url, max_connections=1)  # for the pump; the heartbeats have one of their own
    try:
        # A pool may be there before the first batch, and with it the first look of the operator at this database.
        await queue.create_tables()
    except BaseException:
        await queue.close()
        raise
    return queue


async def _first_of(connecting: Coroutine[Any, Any, JobQueue], stopping: asyncio.Event) -> JobQueue | None:
    """Return what `connecting` returns, or None as soon as `stopping` is set."""
    task = asyncio.create_task(connecting)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        return None
    return task.result()
