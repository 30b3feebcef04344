"""`hammerwork errors`: the failures of one batch."""

from __future__ import annotations

from typing import Annotated

import typer

from hammerwork.queue import JobQueue  # noqa: TC001
from hammerwork.reports import ErrorGroup  # noqa: TC001
from hammerwork_cli.output.console import BatchID, DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.tables import print_errors


def errors(
    batch_id: BatchID,
    database_url: DatabaseURL,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most types shown.")] = 10,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the failures of a batch by type, the most frequent first, each with a sample."""

    async def look(queue: JobQueue) -> tuple[str, list[ErrorGroup]]:
        status = await queue.get_batch_status(batch_id)  # an unknown id is told, instead of no errors
        return status.name, await queue.get_batch_errors(batch_id, limit=limit)

    name, groups = with_queue(database_url, look)
    if output is Output.JSON:
        typer.echo(encode(groups))
    else:
        print_errors(standard_output(), [(name, groups)])
