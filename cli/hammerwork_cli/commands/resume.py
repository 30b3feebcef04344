"""`hammerwork resume`: resume a suspended batch."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode


def resume(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Resume a suspended batch."""
    with_queue(database_url, lambda queue: queue.resume_batch(batch_id))
    if output is Output.JSON:
        typer.echo(encode({"batchId": batch_id, "suspended": False}))
    else:
        typer.echo(f"batch {batch_id}: resumed")
