"""`hammerwork-worker`: the process in a worker container."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from hammerwork import (
    DatabaseError,
    DatabaseRefusedError,
    HandlerError,
    IncompatibleDatabaseError,
    JobQueue,
    Worker,
)
from hammerwork.errors import EXIT_INCOMPATIBLE
from hammerwork.handlers import load_function
from hammerwork.init import leave_init_behind
from hammerwork.threads import any_left
from hammerwork_worker import environment
from hammerwork_worker.log import configure_logging
from hammerwork_worker.web import Probes, ProbeServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from hammerwork.handlers import Handler
    from hammerwork_worker.environment import WorkerSettings

EXIT_CLEAN = 0
EXIT_BAD_CONFIGURATION = 2

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0

log = logging.getLogger("hammerwork_worker")

DESCRIPTION = "Runs the jobs of a Hammerwork queue until SIGTERM or SIGINT. All settings are environment variables."

VARIABLES = f"""\
environment variables, required:
  {environment.DATABASE_URL}
        postgresql://user:password@host/database
  {environment.QUEUE}
        the queue to work on
  {environment.HANDLER}
        the function to run on each job: module:function or path/to/file.py:function

environment variables, optional, with their defaults:
  {environment.CONCURRENCY}
        jobs run at a time (10)
  {environment.POLL_INTERVAL_MILLISECONDS}
        milliseconds until an idle worker polls an empty queue again (100)
  {environment.BATCH_PROCESSING}
        true: claim ranges of jobs; false: one job per claim (true)
  {environment.SHUTDOWN_GRACE_PERIOD_SECONDS}
        seconds that running jobs get to finish after SIGTERM (30)
  {environment.PORT}
        of /healthz, /readyz and /metrics; 0 takes any free one (8080)
  {environment.LOG_FORMAT}, {environment.LOG_LEVEL}
        text or json (text); DEBUG, INFO, WARNING or ERROR (INFO)
  {environment.POOL}, {environment.POD_NAME}, {environment.POD_UID}
        the worker's pool, and its Pod's name and uid; the operator sets them

exit codes:
  {EXIT_CLEAN}  stopped by a signal; no claimed job was lost
  {EXIT_BAD_CONFIGURATION}  the environment, the handler or the port cannot be used, or the database refuses
  {EXIT_INCOMPATIBLE}  this version is too old for the database
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the container's process and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="hammerwork-worker",
        description=DESCRIPTION,
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    leave_init_behind()
    configure_logging("text", "INFO")  # so that a wrong log format can be told at all
    try:
        settings = environment.read_settings(os.environ)
        configure_logging(settings.log_format, settings.log_level)
        handler = _load_handler(settings.handler)
    except (environment.SettingError, HandlerError) as error:
        log.error("%s", error)  # noqa: TRY400 (the message says it all; a traceback would bury it)
        return EXIT_BAD_CONFIGURATION
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_work(settings, handler))
    _leave_threads(code)
    return code


def _leave_threads(code: int) -> None:
    """End the process if a handler's thread outlasts the grace period: Python itself would wait for it."""
    if any_left():
        log.warning("a handler is still running; its job returns to the queue")
        logging.shutdown()
        os._exit(code)


def _load_handler(spec: str) -> Handler:
    # A console script has its own folder on the import path, not the folder that the container starts in.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return load_function(spec)


async def _work(settings: WorkerSettings, handler: Handler) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, number, stopping)
    probes = Probes(settings.queue, settings.pool)
    server = ProbeServer(probes, settings.port)
    try:
        port = server.start()
    except OSError as error:
        log.error("%s: %d cannot be served: %s", environment.PORT, settings.port, error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION
    log.info("serving /healthz, /readyz and /metrics on port %d", port)
    try:
        queue = await _first_of(_connect(settings.database_url), stopping)
        if queue is not None:
            async with queue:
                worker = build_worker(queue, settings, handler)
                probes.worker = worker
                log.info("working on queue %s with %d lanes", settings.queue, settings.concurrency)
                await _run_worker(worker, stopping)
    except IncompatibleDatabaseError as error:
        log.error("%s", error)  # noqa: TRY400
        return EXIT_INCOMPATIBLE
    except DatabaseRefusedError as error:
        log.error("%s: %s", environment.DATABASE_URL, error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION
    finally:
        server.stop()
    log.info("stopped")
    return EXIT_CLEAN


def _on_signal(number: signal.Signals, stopping: asyncio.Event) -> None:
    log.info("%s received: claiming no more jobs, finishing those that run", number.name)
    stopping.set()


async def _connect(url: str) -> JobQueue:
    """Return the queue once its database answers and has the tables, however long that takes."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await _open(url)
        except DatabaseRefusedError:
            raise
        except DatabaseError as error:
            log.warning("the database cannot be reached, retrying in %.1f s: %s", pause, error)
        await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311 (spreads the tries of many Pods)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _open(url: str) -> JobQueue:
    queue = await JobQueue.connect(url)
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


def build_worker(queue: JobQueue, settings: WorkerSettings, handler: Handler) -> Worker:
    """Return the worker that `settings` describe."""
    return (
        Worker(queue, settings.queue, handler, pool=settings.pool, instance=settings.pod_uid)
        .with_concurrency(settings.concurrency)
        .with_poll_interval(settings.poll_interval_seconds)
        .with_batch_processing_enabled(settings.batch_processing)
        .with_shutdown_grace_period(settings.shutdown_grace_period_seconds)
    )


async def _run_worker(worker: Worker, stopping: asyncio.Event) -> None:
    async def stop_when_told() -> None:
        await stopping.wait()
        worker.stop()

    stopper = asyncio.create_task(stop_when_told())
    try:
        await worker.run()
    finally:
        stopper.cancel()


if __name__ == "__main__":
    sys.exit(main())
