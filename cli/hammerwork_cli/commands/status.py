"""`hammerwork status`: how one batch stands."""

from __future__ import annotations

import typer

from hammerwork.queue import JobQueue  # noqa: TC001
from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.summary import BatchReport, report_batch
from hammerwork_cli.output.tables import print_tables


def status(batch_id: BatchID, database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Show the counts, the success rate and the errors of a batch."""

    async def look(queue: JobQueue) -> BatchReport:
        return report_batch(await queue.get_batch_status(batch_id), await queue.get_batch_errors(batch_id))

    report = with_queue(database_url, look)
    if output is Output.JSON:
        typer.echo(encode(report))
    else:
        print_tables(standard_output(), [report])
