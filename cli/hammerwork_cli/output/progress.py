"""Shows how batches get on: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hammerwork.printable import printable
from hammerwork.reports import percentage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from uuid import UUID

    from rich.console import Console

    from hammerwork.reports import BatchStatus

SECONDS_BETWEEN_LINES = 2.0


class Display(Protocol):
    """Shows a run while it goes on; a context manager around the run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, statuses: Iterable[BatchStatus]) -> None:
        """Show how the batches stand now."""


def make_display(console: Console) -> Display:
    """Return what suits the console."""
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """A bar for each batch, drawn again and again in the same place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[share]:>4} {task.fields[failed]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[UUID, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, statuses: Iterable[BatchStatus]) -> None:
        """Move the bars."""
        for status in statuses:
            if status.batch_id not in self._tasks:
                self._tasks[status.batch_id] = self._progress.add_task(
                    escape(printable(status.name)), share="", failed=""
                )
            done = status.total_jobs - status.pending_jobs
            self._progress.update(
                self._tasks[status.batch_id],
                total=status.total_jobs,
                completed=done,
                share=percentage(done, status.total_jobs),
                failed=f"[red]{status.failed_jobs:,} failed[/red]" if status.failed_jobs else "",
            )


class Lines:
    """A line for each batch that has moved, every 2 s at most, and one when it has finished."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[UUID, tuple[float, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, statuses: Iterable[BatchStatus]) -> None:
        """Print what is new."""
        now = time.monotonic()
        for status in statuses:
            shown_at, shown = self._shown.get(status.batch_id, (0.0, ""))
            line = describe(status)
            if line != shown and (status.finished or now - shown_at >= SECONDS_BETWEEN_LINES):
                self._shown[status.batch_id] = (now, line)
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def describe(status: BatchStatus) -> str:
    """Return one line that tells how a batch stands."""
    done = status.total_jobs - status.pending_jobs
    return (
        f"{printable(status.name)}: {status.state.value}, {done:,} of {status.total_jobs:,} jobs "
        f"({percentage(done, status.total_jobs)}), "
        f"{status.completed_jobs:,} completed, {status.failed_jobs:,} failed, {status.cancelled_jobs:,} cancelled"
    )
