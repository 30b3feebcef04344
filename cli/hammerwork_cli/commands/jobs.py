"""`hammerwork jobs`: the jobs of one batch."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from hammerwork.batch import JobStatus  # noqa: TC001 (typer reads annotations at run time)
from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.tables import make_table


def jobs(  # noqa: PLR0917 (typer names the options)
    batch_id: BatchID,
    database_url: DatabaseURL,
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs with this status.", show_default=False)] = None,
    after: Annotated[int, typer.Option(help="Index of the last job of the previous page.")] = -1,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs shown.")] = 100,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the jobs of a batch by their index."""
    found = with_queue(
        database_url, lambda queue: queue.get_batch_jobs(batch_id, status=status, after=after, limit=limit)
    )
    if output is Output.JSON:
        typer.echo(encode(found))
        return
    table = make_table(("Index", "Status", "Priority", "Attempts", "Payload", "Error"))
    for job in found:
        error = f"{job.error.type}: {job.error.message}" if job.error else ""
        payload = msgspec.json.encode(job.payload).decode()
        table.add(str(job.index), job.status.value, job.priority.label, str(job.attempts), payload, error)
    standard_output().print(table)
