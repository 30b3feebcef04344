"""The commands put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hammerwork.cli.batches import batches
from hammerwork.cli.cancel import cancel
from hammerwork.cli.delete import delete
from hammerwork.cli.depth import depth
from hammerwork.cli.errors import errors
from hammerwork.cli.jobs import jobs
from hammerwork.cli.migrate import migrate
from hammerwork.cli.pause import pause, unpause
from hammerwork.cli.resume import resume
from hammerwork.cli.retry import retry
from hammerwork.cli.run import HELP as RUN_HELP
from hammerwork.cli.run import run
from hammerwork.cli.stats import stats
from hammerwork.cli.status import status
from hammerwork.cli.suspend import suspend
from hammerwork.cli.worker import worker

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """Big batches of jobs from a database queue.

[bold]hammerwork run[/bold] tries JobBatch and WorkerPool manifests out on this machine, without Kubernetes.
[bold]hammerwork worker[/bold] runs the jobs of a queue. The other commands look at what is in a database and steer it.
"""


def make_application() -> typer.Typer:
    """Return the command line as a whole."""
    application = typer.Typer(
        name="hammerwork",
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.command(help=RUN_HELP)(run)
    commands: tuple[Callable[..., None], ...] = (
        worker,
        batches,
        status,
        jobs,
        errors,
        retry,
        cancel,
        suspend,
        resume,
        delete,
        depth,
        stats,
        pause,
        unpause,
        migrate,
    )
    for command in commands:
        application.command()(command)
    return application
