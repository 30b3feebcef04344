"""`hammerwork pause` and `hammerwork unpause`: hold a queue."""

from __future__ import annotations

from typing import Annotated

import typer

from hammerwork_cli.output.console import DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode

QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]


def pause(queue_name: QueueName, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Hold a queue: no further job of any of its batches starts; running jobs finish."""
    with_queue(database_url, lambda queue: queue.pause_queue(queue_name))
    if output is Output.JSON:
        typer.echo(encode({"queue": queue_name, "paused": True}))
    else:
        typer.echo(f"queue {queue_name}: paused")


def unpause(queue_name: QueueName, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Resume a paused queue."""
    with_queue(database_url, lambda queue: queue.resume_queue(queue_name))
    if output is Output.JSON:
        typer.echo(encode({"queue": queue_name, "paused": False}))
    else:
        typer.echo(f"queue {queue_name}: resumed")
