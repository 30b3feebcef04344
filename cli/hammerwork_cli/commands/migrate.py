"""`hammerwork migrate`: the tables."""

from __future__ import annotations

import typer

from hammerwork_cli.output.console import DatabaseURL, Output, OutputOption, with_queue
from hammerwork_cli.output.json import encode


def migrate(database_url: DatabaseURL, output: OutputOption = Output.TEXT) -> None:
    """Create or upgrade the tables; does nothing where they are up to date."""
    with_queue(database_url, lambda queue: queue.create_tables())
    typer.echo(encode({"migrated": True}) if output is Output.JSON else "The tables are up to date.")
