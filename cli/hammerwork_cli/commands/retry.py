"""`hammerwork retry`: run failed jobs again."""

from __future__ import annotations

from typing import Annotated

import typer

from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode


def retry(
    batch_id: BatchID,
    database_url: DatabaseURL,
    error_type: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Only jobs whose last attempt failed with this type; may be repeated."),
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="RANGES", help="Only the jobs with these indexes, e.g. 5-9,77.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the failed jobs of a finished batch again, and the jobs that a failed FailFast batch cancelled."""
    jobs = with_queue(database_url, lambda queue: queue.retry_failed(batch_id, error_types=error_type, indexes=index))
    if output is Output.JSON:
        typer.echo(encode({"batchId": batch_id, "jobs": jobs}))
    else:
        typer.echo(f"batch {batch_id}: {jobs:,} jobs will run again")
