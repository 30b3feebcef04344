"""Results as tables, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hammerwork.batch import BatchState
from hammerwork.printable import printable
from hammerwork.reports import percentage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from hammerwork.reports import BatchStatus, ErrorGroup
    from hammerwork_cli.output.summary import BatchReport

TABLE_WIDTH = 110
"""Columns of a terminal from which on the table of batches is readable."""

STYLES = {
    BatchState.COMPLETED: "green",
    BatchState.COMPLETED_WITH_ERRORS: "yellow",
    BatchState.FAILED: "red",
    BatchState.CANCELLED: "red",
}


class PlainTable(Table):
    """A table whose cells are texts of others: no markup of rich's, and nothing that steers a terminal."""

    def __init__(self, title: str | None = None) -> None:
        super().__init__(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)

    def add(self, *cells: str | Text, style: str = "") -> None:
        """Add a row; a `Text` is taken as it is."""
        shown = (Text(printable(cell, lines=True)) if isinstance(cell, str) else cell for cell in cells)
        self.add_row(*shown, style=style)


def make_table(texts: Sequence[str], figures: Sequence[str] = ()) -> PlainTable:
    """Return an empty table with these headings: texts are to the left and folded, figures are to the right."""
    table = PlainTable()
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right")
    return table


def state_text(batch: BatchReport | BatchStatus) -> str:
    """Return the state of a batch, and whether it is suspended meanwhile."""
    return f"{batch.state.value} (suspended)" if batch.suspended and batch.pending_jobs else batch.state.value


def print_tables(console: Console, batches: Iterable[BatchReport]) -> None:
    """Print a row for each batch, or a sentence where rows don't fit, and below it the groups of errors."""
    batches = list(batches)
    if console.width >= TABLE_WIDTH:
        console.print(_batch_table(batches))
    else:
        for batch in batches:
            console.print(_sentence(batch), style=STYLES.get(batch.state, ""), markup=False, highlight=False)
    if any(batch.errors for batch in batches):
        print_errors(console, [(batch.name, batch.errors) for batch in batches])


def _batch_table(batches: list[BatchReport]) -> PlainTable:
    table = PlainTable("Batches")
    table.add_column("Batch", overflow="fold", min_width=16)
    table.add_column("State", no_wrap=True)
    for heading in ("Total", "Completed", "Failed", "Cancelled", "Success", "Duration", "Jobs/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for batch in batches:
        table.add(
            batch.name,
            Text(_state(batch), STYLES.get(batch.state, "")),
            f"{batch.total_jobs:,}",
            f"{batch.completed_jobs:,}",
            f"{batch.failed_jobs:,}",
            f"{batch.cancelled_jobs:,}",
            _success(batch),
            "-" if batch.duration_seconds is None else f"{batch.duration_seconds:.1f} s",
            "-" if batch.jobs_per_second is None else f"{batch.jobs_per_second:,.1f}",
        )
    return table


def _state(batch: BatchReport) -> str:
    if batch.deadline_exceeded:
        return f"{batch.state.value} (deadline)"
    if batch.dependency_failed:
        return f"{batch.state.value} (dependency)"
    return state_text(batch)


def _sentence(batch: BatchReport) -> str:
    ended = "" if batch.duration_seconds is None else f" in {batch.duration_seconds:.1f} s"
    rate = "" if batch.jobs_per_second is None else f" ({batch.jobs_per_second:,.1f} jobs/s)"
    return (
        f"{printable(batch.name)}: {_state(batch)}, {batch.total_jobs:,} jobs{ended}{rate}: "
        f"{batch.completed_jobs:,} completed, {batch.failed_jobs:,} failed, {batch.cancelled_jobs:,} cancelled, "
        f"success rate {_success(batch)}"
    )


def _success(batch: BatchReport) -> str:
    finished = batch.completed_jobs + batch.failed_jobs
    return percentage(batch.completed_jobs, finished, digits=1) if finished else "100%"


def print_errors(console: Console, groups: Iterable[tuple[str, list[ErrorGroup]]]) -> None:
    """Print a row for each group of errors of each batch."""
    table = PlainTable("Errors")
    for heading in ("Batch", "Type"):
        table.add_column(heading, overflow="fold", min_width=12)
    table.add_column("Count", justify="right")
    table.add_column("Job", justify="right")
    table.add_column("Message, of the first one", overflow="fold")
    for name, errors in groups:
        for group in errors:
            table.add(name, group.type, f"{group.count:,}", str(group.index), group.message)
    console.print(table)
