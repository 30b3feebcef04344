"""`hammerwork suspend`: hold a batch."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode


def suspend(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Hold a batch: no further job of it starts; running jobs finish."""
    with_queue(database_url, lambda queue: queue.suspend_batch(batch_id))
    if output is Output.JSON:
        typer.echo(encode({"batchId": batch_id, "suspended": True}))
    else:
        typer.echo(f"batch {batch_id}: suspended")
