"""Where each job of a batch stands, told from chunks, claims and failures. No I/O."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import msgspec

from hammerwork.backends.rows import STOPPED, attempts_begun, waiting_status
from hammerwork.batch import BatchState, JobStatus, Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Span


class Standing(msgspec.Struct, frozen=True):
    """Where a job stands."""

    index: int
    status: JobStatus
    attempts: int
    """Attempts begun."""
    priority: Priority


def standings(
    batch: Row, chunks: Iterable[Row], claims: Iterable[Row], failures: Iterable[Row], window: range
) -> Iterator[Standing]:
    """Yield where the jobs of `window` stand, from the rows of ``job_window``."""
    covering = _covering(chunks, window)
    running = _running(claims)
    ends = {row["idx"]: row for row in failures}
    runs = msgspec.json.decode(batch["priorities"], type=list[tuple[int, int]])
    starts = [start for start, _ in runs]
    for index in window:
        if index >= batch["total"]:
            return
        chunk = covering[index - window.start]
        failure = ends.get(index)
        status = _status(index, chunk, running, failure, stopped=BatchState(batch["state"]) in STOPPED)
        attempt = chunk["attempt"] if chunk is not None else failure["attempt"] if failure is not None else 1
        begun = attempts_begun(attempt, status)
        yield Standing(index, status, begun, Priority(runs[bisect.bisect_right(starts, index) - 1][1]))


def windows(spans: Iterable[Span], first: int, size: int) -> Iterator[range]:
    """Cover spans, which are in order, with windows of at most `size` jobs each, from index `first` on."""
    for lo, hi in spans:
        first = max(first, lo)
        while first <= hi:
            yield range(first, first + size)
            first += size


def _covering(chunks: Iterable[Row], window: range) -> list[Row | None]:
    """Return the chunk that each job belongs to: the newest one, since a retry moves it to a new one."""
    covering: list[Row | None] = [None] * len(window)
    for chunk in sorted(chunks, key=lambda row: int(row["id"])):
        first, last = max(chunk["lo"], window.start), min(chunk["hi"], window.stop - 1)
        covering[first - window.start : last - window.start + 1] = [chunk] * (last - first + 1)
    return covering


def _running(claims: Iterable[Row]) -> dict[int, list[tuple[int, int]]]:
    """Return the spans without an outcome that workers hold, by chunk."""
    running: dict[int, list[tuple[int, int]]] = {}
    for claim in claims:
        spans: Sequence[tuple[int, int]] = [(claim["lo"], claim["hi"])]
        if claim["remaining"] is not None:
            spans = msgspec.json.decode(claim["remaining"], type=list[tuple[int, int]])
        running.setdefault(claim["chunk_id"], []).extend(spans)
    return running


def _status(
    index: int, chunk: Row | None, running: dict[int, list[tuple[int, int]]], failure: Row | None, *, stopped: bool
) -> JobStatus:
    if chunk is not None and index >= chunk["next"]:
        return waiting_status(chunk["state"], stopped=stopped)
    if chunk is not None and any(lo <= index <= hi for lo, hi in running.get(chunk["id"], ())):
        return JobStatus.RUNNING
    # Not covered, or handed out and in no claim: it has an outcome, and failures tells which.
    return JobStatus.FAILED if failure is not None and failure["final"] else JobStatus.COMPLETED
