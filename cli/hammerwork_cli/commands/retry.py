"""`hammerwork retry`: run failed jobs again."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode


def retry(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Run the failed jobs of a finished batch again, and the jobs that a failed FailFast batch cancelled."""
    jobs = with_queue(database_url, lambda queue: queue.retry_failed(batch_id))
    if output is Output.JSON:
        typer.echo(encode({"batchId": batch_id, "jobs": jobs}))
    else:
        typer.echo(f"batch {batch_id}: {jobs:,} jobs will run again")
