"""Where each job of a batch stands, told from chunks, claims and failures. No I/O."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import BatchState, JobStatus, Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hammerwork.backends.protocol import Span

    Row = Mapping[str, Any]

MAX_PAGE = 10_000
MAX_BATCHES = 1_000
WINDOW_JOBS = 10_000
"""So many jobs are looked at in one query."""
STOPPED = {BatchState.FAILED, BatchState.CANCELLED}


class Standing(msgspec.Struct, frozen=True):
    """Where a job stands."""

    index: int
    status: JobStatus
    attempts: int
    """Attempts begun."""
    priority: Priority


class Window(msgspec.Struct):
    """What the database knows of the jobs of one window, at one instant."""

    state: str
    total: int
    priorities: list[tuple[int, int]]
    """(first index, priority) of each run of jobs."""
    chunks: list[dict[str, Any]]
    """id, attempt, lo, hi, spans, next, state"""
    claims: list[dict[str, Any]]
    """chunk_id, lo, hi, remaining"""
    failures: list[dict[str, Any]]
    """idx, attempt, final: the last recorded failure of each job that has one"""


def check_limit(what: str, limit: int, most: int, unit: str) -> None:
    """Raise ValueError unless `limit` is a page of 1 to `most`."""
    if not 1 <= limit <= most:
        raise ValueError(f"{what}: limit {limit} must be 1 to {most:,} {unit} a page")


def spans_of(row: Row) -> list[Span]:
    """Return the jobs of a chunk."""
    return [(lo, hi) for lo, hi in row["spans"]] if row["spans"] else [(row["lo"], row["hi"])]


def merged(indexes: Iterable[int]) -> list[Span]:
    """Return ascending indexes as spans."""
    spans: list[Span] = []
    for index in indexes:
        if spans and spans[-1][1] == index - 1:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    return spans


def cut(spans: Iterable[Span], first: int) -> list[Span]:
    """Return the jobs of `spans` but the first ones."""
    left = []
    for lo, hi in spans:
        if first <= hi - lo:
            left.append((lo + max(0, first), hi))
        first -= hi - lo + 1
    return left


def standings(known: Window, window: range) -> Iterator[Standing]:
    """Yield where the jobs of `window` stand."""
    stopped = BatchState(known.state) in STOPPED if known.state in _SHOWN else False
    waiting, handed_out = _covering(known.chunks, window)
    running = _running(known.claims)
    ends = {row["idx"]: row for row in known.failures}
    starts = [start for start, _ in known.priorities]
    for index in window:
        if index >= known.total:
            return
        chunk = waiting.get(index)
        failure = ends.get(index)
        if chunk is not None:
            status = _waiting_status(chunk["state"], stopped=stopped)
            attempt = chunk["attempt"]
        else:
            chunk = handed_out.get(index)
            attempt = chunk["attempt"] if chunk is not None else failure["attempt"] if failure is not None else 1
            if chunk is not None and any(lo <= index <= hi for lo, hi in running.get(chunk["id"], ())):
                status = JobStatus.RUNNING
            else:
                # Not covered, or handed out and in no claim: it has an outcome, and failures tells which.
                status = JobStatus.FAILED if failure is not None and failure["final"] else JobStatus.COMPLETED
        begun = _attempts_begun(attempt, status)
        priority = known.priorities[bisect.bisect_right(starts, index) - 1][1]
        yield Standing(index, status, begun, Priority(priority))


_SHOWN = {state.value for state in BatchState}


def windows(spans: Iterable[Span], first: int, size: int) -> Iterator[range]:
    """Cover spans, which are in order of their first jobs, with windows of up to `size` jobs from index `first` on."""
    for lo, hi in spans:
        first = max(first, lo)
        while first <= hi:
            yield range(first, first + size)
            first += size


def _covering(chunks: Iterable[Row], window: range) -> tuple[dict[int, Row], dict[int, Row]]:
    """Return the chunk of each job, the newest one, since a retry moves it: of jobs that wait, and of the others."""
    waiting: dict[int, Row] = {}
    handed_out: dict[int, Row] = {}
    for chunk in sorted(chunks, key=lambda row: int(row["id"])):
        place = 0
        for lo, hi in spans_of(chunk):
            for index in range(max(lo, window.start), min(hi, window.stop - 1) + 1):
                waits = place + index - lo >= chunk["next"]
                (waiting if waits else handed_out)[index] = chunk
                (handed_out if waits else waiting).pop(index, None)
            place += hi - lo + 1
    return waiting, handed_out


def _running(claims: Iterable[Row]) -> dict[int, list[Span]]:
    """Return the spans without an outcome that workers hold, by chunk."""
    running: dict[int, list[Span]] = {}
    for claim in claims:
        running.setdefault(claim["chunk_id"], []).extend(held_spans(claim))
    return running


def held_spans(claim: Row) -> list[Span]:
    """Return the spans without an outcome of a claim."""
    if claim["remaining"] is not None:
        return [(lo, hi) for lo, hi in claim["remaining"]]
    return [(claim["lo"], claim["hi"])]


def _attempts_begun(attempt: int, status: JobStatus) -> int:
    """Return how many attempts of a job have begun when `attempt` is the one that runs, comes next or ended last."""
    return attempt - 1 if status in {JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.CANCELLED} else attempt


def _waiting_status(state: str, *, stopped: bool) -> JobStatus:
    """Return the status of a job that is not handed out, from the state of its chunk."""
    if stopped:
        return JobStatus.CANCELLED
    return JobStatus.SCHEDULED if state == "scheduled" else JobStatus.PENDING


def waiting_spans(status: JobStatus, waiting: Iterable[Row], first: int, *, total: int, stopped: bool) -> list[Span]:
    """Return where jobs can be that have this status and are not in the hands of workers, in order.

    Args:
        status: Completed, or one of those that a job has that is not handed out.
        waiting: Chunks with jobs that are not handed out.
        first: Least index of interest.
        total: Jobs of the batch.
        stopped: Whether the batch was cancelled or has failed.
    """
    found = []
    for row in waiting:
        if status is JobStatus.COMPLETED or _waiting_status(row["state"], stopped=stopped) is status:
            found += cut(spans_of(row), row["next"])
    found.sort()
    return _gaps(found, first, total - 1) if status is JobStatus.COMPLETED else found


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Cut off what an earlier span covers: a job that was given back may be in the spans of two claims."""
    left = []
    end = -1
    for lo, hi in sorted(spans):
        if hi > end:
            left.append((max(lo, end + 1), hi))
            end = hi
    return left


def _gaps(spans: Iterable[Span], lo: int, hi: int) -> list[Span]:
    """Return what of lo..hi is in none of the spans, which are in order."""
    gaps = []
    for start, end in spans:
        if start > lo:
            gaps.append((lo, start - 1))
        lo = max(lo, end + 1)
    if lo <= hi:
        gaps.append((lo, hi))
    return gaps
