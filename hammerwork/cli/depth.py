"""`hammerwork depth`: the backlog."""

from __future__ import annotations

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from hammerwork.cli.console import DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork.cli.report import encode


def depth(database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Show the backlog of every queue that has one, in jobs."""
    depths = with_queue(database_url, lambda queue: queue.get_queue_depths())
    if output is Output.JSON:
        typer.echo(encode(depths))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Queue", overflow="fold")
    for heading in ("Ready", "Scheduled", "Running", "Oldest"):
        table.add_column(heading, justify="right")
    for name, found in sorted(depths.items()):
        oldest = "-" if found.oldest_ready_seconds is None else f"{found.oldest_ready_seconds:,.0f} s"
        table.add_row(name, f"{found.ready:,}", f"{found.scheduled:,}", f"{found.running:,}", oldest)
    standard_output().print(table)
