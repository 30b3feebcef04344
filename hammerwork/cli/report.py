"""What a run came to: as values, as JSON, as a table, and as the exit code."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hammerwork.batch import BatchState
from hammerwork.reports import BatchStatus, ErrorGroup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

TABLE_WIDTH = 110
"""Columns of a terminal from which on the table of batches is readable."""

STYLES = {
    BatchState.COMPLETED: "green",
    BatchState.COMPLETED_WITH_ERRORS: "yellow",
    BatchState.FAILED: "red",
    BatchState.CANCELLED: "red",
}


class Ending(enum.Enum):
    """Why a run came to its end."""

    FINISHED = "Finished"
    TIMED_OUT = "TimedOut"
    INTERRUPTED = "Interrupted"
    TERMINATED = "Terminated"


class BatchReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one batch."""

    name: str
    queue: str
    batch_id: UUID
    state: BatchState
    total_jobs: int
    pending_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    success_rate: float
    """From 0 to 1."""
    duration_seconds: float | None
    """From enqueueing to the end; None for a batch that has none."""
    jobs_per_second: float | None
    errors: list[ErrorGroup]
    metadata: dict[str, str]
    deadline_exceeded: bool = False
    """Whether it was cancelled because of spec.activeDeadlineSeconds."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of everything that was run."""

    ending: Ending
    duration_seconds: float
    batches: list[BatchReport]
    skipped: list[str]

    def exit_code(self) -> int:
        """Return 0 when every batch completed without a failed job, else what tells why not."""
        if self.ending is Ending.INTERRUPTED:
            return EXIT_INTERRUPTED
        if self.ending is Ending.TERMINATED:
            return EXIT_TERMINATED
        complete = all(batch.state is BatchState.COMPLETED for batch in self.batches)
        return EXIT_COMPLETED if complete and self.ending is Ending.FINISHED else EXIT_FAILED


def report_batch(status: BatchStatus, errors: list[ErrorGroup], *, deadline_exceeded: bool = False) -> BatchReport:
    """Return the report on a batch that stands as `status` tells."""
    duration = (status.finished_at - status.created_at).total_seconds() if status.finished_at else None
    done = status.completed_jobs + status.failed_jobs
    return BatchReport(
        name=status.name,
        queue=status.queue,
        batch_id=status.batch_id,
        state=status.state,
        total_jobs=status.total_jobs,
        pending_jobs=status.pending_jobs,
        completed_jobs=status.completed_jobs,
        failed_jobs=status.failed_jobs,
        cancelled_jobs=status.cancelled_jobs,
        success_rate=status.success_rate(),
        duration_seconds=duration,
        jobs_per_second=done / duration if duration else None,
        errors=errors,
        metadata=status.metadata,
        deadline_exceeded=deadline_exceeded,
    )


def encode(value: object) -> str:
    """Return `value` as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


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


def _batch_table(batches: list[BatchReport]) -> Table:
    table = Table(title="Batches", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Batch", overflow="fold", min_width=16)
    table.add_column("State", no_wrap=True)
    for heading in ("Total", "Completed", "Failed", "Cancelled", "Success", "Duration", "Jobs/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for batch in batches:
        table.add_row(
            batch.name,
            Text(batch.state.value + (" (deadline)" if batch.deadline_exceeded else ""), STYLES.get(batch.state, "")),
            f"{batch.total_jobs:,}",
            f"{batch.completed_jobs:,}",
            f"{batch.failed_jobs:,}",
            f"{batch.cancelled_jobs:,}",
            f"{batch.success_rate:.1%}",
            "-" if batch.duration_seconds is None else f"{batch.duration_seconds:.1f} s",
            "-" if batch.jobs_per_second is None else f"{batch.jobs_per_second:,.1f}",
        )
    return table


def _sentence(batch: BatchReport) -> str:
    ended = "" if batch.duration_seconds is None else f" in {batch.duration_seconds:.1f} s"
    rate = "" if batch.jobs_per_second is None else f" ({batch.jobs_per_second:,.1f} jobs/s)"
    return (
        f"{batch.name}: {batch.state.value}, {batch.total_jobs:,} jobs{ended}{rate}: "
        f"{batch.completed_jobs:,} completed, {batch.failed_jobs:,} failed, {batch.cancelled_jobs:,} cancelled, "
        f"success rate {batch.success_rate:.1%}"
    )


def print_errors(console: Console, groups: Iterable[tuple[str, list[ErrorGroup]]]) -> None:
    """Print a row for each group of errors of each batch."""
    table = Table(title="Errors", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("Batch", "Type"):
        table.add_column(heading, overflow="fold", min_width=12)
    table.add_column("Count", justify="right")
    table.add_column("Job", justify="right")
    table.add_column("Message, of the first one", overflow="fold")
    for name, errors in groups:
        for group in errors:
            # Text, because a message may hold what rich takes for markup.
            table.add_row(name, Text(group.type), f"{group.count:,}", str(group.index), Text(group.message))
    console.print(table)
