"""`hammerwork delete`: remove a batch from the database."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, fail, with_queue
from hammerwork_cli.output.json import encode


def delete(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Delete a batch and all its rows; running jobs finish, but do not count."""
    if not with_queue(database_url, lambda queue: queue.delete_batch(batch_id)):
        fail(f"batch {batch_id}: not found")
    if output is Output.JSON:
        typer.echo(encode({"batchId": batch_id, "deleted": True}))
    else:
        typer.echo(f"batch {batch_id}: deleted")
