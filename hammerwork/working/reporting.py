"""What a worker process reports of itself, each second, to the process that watches over it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from hammerwork.reports import WorkerStats
from hammerwork.timing import REPORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker process is, and what its worker has done so far."""

    stats: WorkerStats = msgspec.field(default_factory=WorkerStats)
    busy_lanes: int = 0
    not_ready: str | None = None
    """Why it does not work on jobs, or None."""
    unhealthy: str | None = None
    """Why it has to be restarted, or None."""
    error: str | None = None
    """Why it ends, where to start it again would not help."""


def sum_stats(stats: Iterable[WorkerStats]) -> WorkerStats:
    """Return what several workers have done together."""
    total = WorkerStats()
    for each in stats:
        total.jobs_processed += each.jobs_processed
        total.jobs_completed += each.jobs_completed
        total.jobs_failed += each.jobs_failed
        total.busy_seconds += each.busy_seconds
    return total


class Reporter:
    """Writes a report each second, one line of JSON, from a thread: a handler that holds the loop stops none."""

    def __init__(self, channel: int, report: Callable[[], ProcessReport]) -> None:
        """Take the file descriptor to write to, and what returns the report; that is called in the thread."""
        self._channel = channel
        self._report = report
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, error: str | None = None) -> None:
        """Write a last report, with why the process ends if that is an error."""
        self._stopping.set()
        self._thread.join(REPORT_SECONDS)
        self._write(msgspec.structs.replace(self._report(), error=error))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._write(self._report())
            self._stopping.wait(REPORT_SECONDS)

    def _write(self, report: ProcessReport) -> None:
        line = msgspec.json.encode(report) + b"\n"
        with contextlib.suppress(OSError):  # nobody listens any more; that ends the process in another way
            while line:
                line = line[os.write(self._channel, line) :]
