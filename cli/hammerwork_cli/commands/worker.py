"""`hammerwork worker`: run jobs without Kubernetes, on one core or on several."""

from __future__ import annotations

import asyncio
import signal
import uuid
from typing import Annotated

import typer

from hammerwork.errors import HammerworkError, HandlerError
from hammerwork.handlers import HandlerReference, allowed_texts
from hammerwork.service import environment, logs, loop
from hammerwork.working import variables
from hammerwork.working.init import leave_init_behind
from hammerwork.working.processes import WorkerProcesses
from hammerwork.working.settings import (
    DEFAULTS,
    LOG_FORMAT,
    LOG_LEVEL,
    MAX_CONCURRENCY,
    MAX_GRACE_SECONDS,
    MAX_POLL_SECONDS,
    MAX_PROCESSES,
    ProcessSettings,
)
from hammerwork_cli.output.console import DatabaseURL, fail_with, with_queue


def worker(  # noqa: PLR0917 (typer names the options)
    database_url: DatabaseURL,
    queue_name: Annotated[str, typer.Option("--queue", metavar="NAME", help="The queue to work on.")],
    handler: Annotated[str, typer.Option(metavar="SPEC", help=f"{allowed_texts()} that is given each job.")],
    processes: Annotated[int, typer.Option(min=1, max=MAX_PROCESSES, help="Worker processes; one uses one core.")] = 1,
    concurrency: Annotated[
        int, typer.Option(min=1, max=MAX_CONCURRENCY, help="Jobs that each process runs at a time.")
    ] = DEFAULTS.concurrency,
    poll_interval: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=MAX_POLL_SECONDS,
            help="Seconds until an idle worker looks for jobs again where the database does not notify it.",
        ),
    ] = DEFAULTS.poll_interval_seconds,
    batch_processing: Annotated[
        bool, typer.Option(help="Claim ranges of jobs, as many as are run in a moment; else one job at a time.")
    ] = DEFAULTS.batch_processing,
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="The group that `hammerwork stats` shows the workers in.")
    ] = DEFAULTS.pool,
    lease: Annotated[
        float,
        typer.Option(min=1, help="Seconds without a sign of life after which a worker's jobs go to others."),
    ] = DEFAULTS.lease_seconds,
    grace_period: Annotated[
        float,
        typer.Option(
            min=0, max=MAX_GRACE_SECONDS, help="Seconds that running jobs get to finish after SIGTERM or Ctrl-C."
        ),
    ] = DEFAULTS.shutdown_grace_period_seconds,
    log_level: Annotated[
        str, typer.Option(envvar=variables.LOG_LEVEL, metavar="LEVEL", help=f"One of {', '.join(logs.LEVELS)}.")
    ] = LOG_LEVEL,
    log_format: Annotated[
        str, typer.Option(envvar=variables.LOG_FORMAT, metavar="FORMAT", help="text or json: an object a line.")
    ] = LOG_FORMAT,
) -> None:
    """Run the jobs of a queue until SIGTERM or Ctrl-C; processes that die are restarted.

    Ends with 3 when this version is too old for the database.
    """
    leave_init_behind()
    try:
        level = environment.log_level({"--log-level": log_level}, "--log-level", default=LOG_LEVEL)
        style = environment.log_format({"--log-format": log_format}, "--log-format", default=LOG_FORMAT)
        reference = HandlerReference.from_text(handler)
    except (HandlerError, environment.SettingError) as error:
        fail_with(error)
    logs.configure(level, style)
    settings = ProcessSettings(
        database_url=database_url,
        queue=queue_name,
        handler=reference,
        pool=pool,
        # A process that is started again has what its predecessor held recovered at once.
        instance=str(uuid.uuid4()),
        concurrency=concurrency,
        poll_interval_seconds=poll_interval,
        batch_processing=batch_processing,
        lease_seconds=lease,
        shutdown_grace_period_seconds=grace_period,
        log_level=level,
        log_format=style,
    )
    with_queue(database_url, lambda queue: queue.create_tables())

    async def run() -> None:
        workers = WorkerProcesses(settings, processes=processes)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, workers.stop)
        await workers.run()

    try:
        loop.run(run())
    except HammerworkError as error:
        fail_with(error)
