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

from hammerwork import (
    DatabaseError,
    DatabaseRefusedError,
    HandlerError,
    IncompatibleDatabaseError,
    JobQueue,
    Worker,
)
from hammerwork.errors import EXIT_BAD_CONFIGURATION, EXIT_INCOMPATIBLE
from hammerwork.handlers import KINDS
from hammerwork.service import logs, loop
from hammerwork.service.ending import leave_threads_behind
from hammerwork.service.environment import SettingError
from hammerwork.service.probes import ProbeServer, ProbeThread
from hammerwork.working import variables
from hammerwork.working.init import leave_init_behind
from hammerwork.working.portable import is_portable
from hammerwork.working.threads import any_left
from hammerwork_worker.environment import DEFAULTS, read_settings
from hammerwork_worker.metrics import WorkerState

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from hammerwork.handlers import Handler, HandlerReference
    from hammerwork_worker.environment import ContainerSettings

EXIT_CLEAN = 0

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0

log = logging.getLogger("hammerwork_worker")

DESCRIPTION = "Runs the jobs of a Hammerwork queue until SIGTERM or SIGINT. All settings are environment variables."

_HANDLER_VARIABLES = "".join(
    f"  {field.variable}\n        {field.purpose}: {field.allowed}\n"
    for kind in KINDS
    for field in kind.fields.values()
)

VARIABLES = f"""\
environment variables, required:
  {variables.DATABASE_URL}
        postgresql://user:password@host/database
  {variables.QUEUE}
        the queue to work on
{_HANDLER_VARIABLES}
environment variables, optional, with their defaults:
  {variables.CONCURRENCY}
        jobs run at a time ({DEFAULTS.concurrency})
  {variables.POLL_INTERVAL_MILLISECONDS}
        milliseconds until an idle worker polls an empty queue again ({DEFAULTS.poll_interval_seconds * 1000:.0f})
  {variables.BATCH_PROCESSING}
        true: claim ranges of jobs; false: one job per claim ({str(DEFAULTS.batch_processing).lower()})
  {variables.SHUTDOWN_GRACE_PERIOD_SECONDS}
        seconds that running jobs get to finish after SIGTERM ({DEFAULTS.shutdown_grace_period_seconds:g})
  {variables.PORT}
        of /healthz, /readyz and /metrics; 0 takes any free one ({DEFAULTS.port})
  {variables.LOG_FORMAT}, {variables.LOG_LEVEL}
        text or json ({DEFAULTS.log_format}); DEBUG, INFO, WARNING or ERROR ({DEFAULTS.log_level})
  {variables.POOL}, {variables.POD_NAME}, {variables.POD_UID}
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
    logs.configure("INFO", "text")  # so that a wrong log format can be told at all
    try:
        settings = read_settings(os.environ)
        logs.configure(settings.log_level, settings.log_format)
        handler = _load_handler(settings.handler)
    except (SettingError, HandlerError) as error:
        log.error("%s", error)  # noqa: TRY400 (the message says it all; a traceback would bury it)
        return EXIT_BAD_CONFIGURATION
    code = loop.run(_work(settings, handler))
    return leave_threads_behind(code, hanging=any_left(), logger=log)


def _load_handler(handler: HandlerReference) -> Handler:
    # A console script has its own folder on the import path, not the folder that the container starts in. Of an image
    # that is not ours, nothing is imported.
    here = str(Path.cwd())
    if here not in sys.path and not is_portable():
        sys.path.insert(0, here)
    return handler.load()


async def _work(settings: ContainerSettings, handler: Handler) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, number, stopping)
    state = WorkerState(settings.queue, settings.pool)
    probes = ProbeThread(ProbeServer(settings.port, state.registry, ready=state.not_ready, healthy=state.unhealthy))
    try:
        port = probes.start()
    except OSError as error:
        log.error("%s: %d cannot be served: %s", variables.PORT, settings.port, error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION
    log.info("serving /healthz, /readyz and /metrics on port %d", port)
    try:
        queue = await _first_of(_connect(settings.database_url), stopping)
        if queue is not None:
            async with queue:
                worker = Worker.from_settings(queue, settings, handler)
                state.worker = worker
                log.info("working on queue %s with %d lanes", settings.queue, settings.concurrency)
                await _run_worker(worker, stopping)
    except IncompatibleDatabaseError as error:
        log.error("%s", error)  # noqa: TRY400
        return EXIT_INCOMPATIBLE
    except DatabaseRefusedError as error:
        log.error("%s: %s", variables.DATABASE_URL, error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION
    finally:
        probes.stop()
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
    queue = await JobQueue.connect(
        url, max_connections=1
    )  # which the worker's exchanges use; heartbeats have their own
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
