"""`hammerwork-worker`: the process in a worker container."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hammerwork import DatabaseRefusedError, HammerworkError, IncompatibleDatabaseError
from hammerwork.errors import EXIT_BAD_CONFIGURATION, EXIT_INCOMPATIBLE
from hammerwork.handlers import KINDS
from hammerwork.service import logs, loop
from hammerwork.service.ending import leave_threads_behind
from hammerwork.service.environment import SettingError
from hammerwork.service.probes import ProbeServer, ProbeThread
from hammerwork.working import variables
from hammerwork.working.init import leave_init_behind
from hammerwork.working.portable import is_portable
from hammerwork.working.processes import WorkerProcesses
from hammerwork.working.running import WorkerRun
from hammerwork.working.threads import any_left
from hammerwork_worker.environment import AUTO, DEFAULTS, read_settings
from hammerwork_worker.metrics import WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork_worker.environment import ContainerSettings

EXIT_CLEAN = 0

log = logging.getLogger("hammerwork_worker")

DESCRIPTION = "Runs the jobs of a Hammerwork queue until SIGTERM or SIGINT. All settings are environment variables."

_HANDLER_VARIABLES = "".join(
    f"  {field.variable}\n        {field.purpose}: {field.allowed}\n"
    for kind in KINDS
    for field in kind.fields.values()
)

_HANDLERS = ", ".join(kind.fields[kind.main].variable for kind in KINDS)

VARIABLES = f"""\
environment variables, required:
  {variables.DATABASE_URL}
        postgresql://user:password@host/database, or mysql://… for MySQL and MariaDB
  {variables.QUEUE}
        the queue to work on

environment variables of the handler, exactly one of
{_HANDLERS}:
{_HANDLER_VARIABLES}
environment variables, optional, with their defaults:
  {variables.PROCESSES}
        worker processes, or {AUTO}: as many as the CPU limit has a use for ({DEFAULTS.processes})
  {variables.CONCURRENCY}
        jobs that a process runs at a time ({DEFAULTS.concurrency})
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
  143  SIGTERM came while the handler was imported
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
    # Until there is an event loop, a signal ends the process at once, also in the midst of an import: nothing has been
    # claimed yet. Python would wait for the import to come to its next line.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logs.configure("INFO", "text")  # so that a wrong log format can be told at all
    try:
        settings = read_settings(os.environ)
        logs.configure(settings.log_level, settings.log_format)
        return _serve_and_work(settings)
    except IncompatibleDatabaseError as error:
        log.error("%s", error)  # noqa: TRY400 (the message says it all; a traceback would bury it)
        return EXIT_INCOMPATIBLE
    except DatabaseRefusedError as error:
        log.error("%s: %s", variables.DATABASE_URL, error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION
    except HammerworkError as error:
        log.error("%s", error)  # noqa: TRY400
        return EXIT_BAD_CONFIGURATION


def _serve_and_work(settings: ContainerSettings) -> int:
    """Serve probes and metrics from before the handler's import to the end of the work; return the exit code."""
    workers = (
        WorkerRun(settings) if settings.processes == 1 else WorkerProcesses(settings, processes=settings.processes)
    )
    state = WorkerState(settings.queue, settings.pool, workers.report)
    probes = ProbeThread(ProbeServer(settings.port, state.registry, ready=state.not_ready, healthy=state.unhealthy))
    try:
        port = probes.start()
    except OSError as error:
        raise SettingError(f"{variables.PORT}: {settings.port} cannot be served: {error}") from error
    log.info("serving /healthz, /readyz and /metrics on port %d", port)
    _import_from_here()
    try:
        if isinstance(workers, WorkerRun):
            workers.load()
        loop.run(_work(workers))
    finally:
        probes.stop()
    log.info("stopped")
    return leave_threads_behind(EXIT_CLEAN, hanging=any_left(), logger=log)


def _import_from_here() -> None:
    # A console script has its own folder on the import path, not the folder that the container starts in. Of an image
    # that is not ours, nothing is imported.
    here = str(Path.cwd())
    if here not in sys.path and not is_portable():
        sys.path.insert(0, here)


async def _work(workers: WorkerRun | WorkerProcesses) -> None:
    def on_signal(number: signal.Signals) -> None:
        log.info("%s received: claiming no more jobs, finishing those that run", number.name)
        workers.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    await workers.run()


if __name__ == "__main__":
    sys.exit(main())
