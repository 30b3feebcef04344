"""`hammerwork batches`: what is in the database, the newest first."""

from __future__ import annotations

from typing import Annotated

import typer

from hammerwork import BatchState  # noqa: TC001 (typer reads annotations at run time)
from hammerwork_cli.output.console import DatabaseURL, Output, OutputOption, fail, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.summary import report_batch
from hammerwork_cli.output.tables import STYLES, make_table, state_text


def batches(  # noqa: PLR0917 (typer names the options)
    database_url: DatabaseURL,
    queue_name: Annotated[
        str | None, typer.Option("--queue", metavar="NAME", help="Only batches of this queue.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--metadata", metavar="KEY=VALUE", help="Only batches with this entry in their metadata; repeatable."
        ),
    ] = None,
    state: Annotated[BatchState | None, typer.Option(help="Only batches in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most batches shown.")] = 20,
    output: OutputOption = Output.TEXT,
) -> None:
    """List batches, the newest first."""
    entries = dict(_entry(text) for text in metadata or ())
    found = with_queue(
        database_url,
        lambda queue: queue.list_batches(queue=queue_name, metadata=entries, state=state, limit=limit),
    )
    if output is Output.JSON:
        typer.echo(encode([report_batch(status, []) for status in found]))
        return
    table = make_table(("ID", "Name", "Queue", "State"), ("Total", "Completed", "Failed"))
    for status in found:
        table.add(
            str(status.batch_id),
            status.name,
            status.queue,
            state_text(status),
            f"{status.total_jobs:,}",
            f"{status.completed_jobs:,}",
            f"{status.failed_jobs:,}",
            style=STYLES.get(status.state, ""),
        )
    standard_output().print(table)


def _entry(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        fail(f"--metadata {text!r}: must be KEY=VALUE")
    return key, value
