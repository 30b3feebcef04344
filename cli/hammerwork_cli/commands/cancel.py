"""`hammerwork cancel`: end a batch early."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.progress import describe
from hammerwork_cli.output.summary import report_batch


def cancel(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Cancel the jobs of a batch that have not started; running jobs finish and count."""
    status = with_queue(database_url, lambda queue: queue.cancel_batch(batch_id))
    typer.echo(encode(report_batch(status, [])) if output is Output.JSON else describe(status))
