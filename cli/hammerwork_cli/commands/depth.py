"""`hammerwork depth`: the backlog."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.tables import make_table


def depth(database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Show the backlog of every queue that has one, in jobs."""
    depths = with_queue(database_url, lambda queue: queue.get_queue_depths())
    if output is Output.JSON:
        typer.echo(encode(depths))
        return
    table = make_table(("Queue", "Paused"), ("Ready", "Scheduled", "Running", "Oldest"))
    for name, found in sorted(depths.items()):
        oldest = "-" if found.oldest_ready_seconds is None else f"{found.oldest_ready_seconds:,.0f} s"
        paused = "yes" if found.paused else ""
        table.add(name, paused, f"{found.ready:,}", f"{found.scheduled:,}", f"{found.running:,}", oldest)
    standard_output().print(table)
