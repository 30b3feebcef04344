"""The commands put together."""

from __future__ import annotations

import typer

from hammerwork.cli.cancel import cancel
from hammerwork.cli.delete import delete
from hammerwork.cli.depth import depth
from hammerwork.cli.errors import errors
from hammerwork.cli.jobs import jobs
from hammerwork.cli.migrate import migrate
from hammerwork.cli.resume import resume
from hammerwork.cli.run import HELP as RUN_HELP
from hammerwork.cli.run import run
from hammerwork.cli.status import status
from hammerwork.cli.suspend import suspend

HELP = """Big batches of jobs from a database queue.

[bold]hammerwork run[/bold] tries JobBatch and WorkerPool manifests out on this machine, without Kubernetes.
The other commands look at the batches in a database and steer them.
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
    for command in (status, jobs, errors, cancel, suspend, resume, delete, depth, migrate):
        application.command()(command)
    return application
