"""The commands put together."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Annotated

import typer

from hammerwork_cli.commands.batches import batches
from hammerwork_cli.commands.cancel import cancel
from hammerwork_cli.commands.delete import delete
from hammerwork_cli.commands.depth import depth
from hammerwork_cli.commands.errors import errors
from hammerwork_cli.commands.jobs import jobs
from hammerwork_cli.commands.migrate import migrate
from hammerwork_cli.commands.pause import pause, unpause
from hammerwork_cli.commands.resume import resume
from hammerwork_cli.commands.retry import retry
from hammerwork_cli.commands.run import HELP as RUN_HELP
from hammerwork_cli.commands.run import run
from hammerwork_cli.commands.stats import stats
from hammerwork_cli.commands.status import status
from hammerwork_cli.commands.suspend import suspend
from hammerwork_cli.commands.worker import worker

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """Big batches of jobs from a database queue.

[bold]hammerwork run[/bold] tries JobBatch and WorkerPool manifests out on this machine, without Kubernetes.
[bold]hammerwork worker[/bold] runs the jobs of a queue. The other commands show what is in a database and control it.
"""


def print_version(wanted: bool) -> None:
    """Print the version and end, if it is wanted."""
    if wanted:
        typer.echo(f"hammerwork {metadata.version('hammerwork-operator')}")
        raise typer.Exit


def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take what stands before the command. The help text is `HELP`."""


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
    application.callback()(options)
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
