"""How fast a JobBatch gets on, and when it will be done at that speed. Pure.

It follows from the batch's own progress: what was counted, and when. Nothing changes while the counts do not, so a
batch that stands still keeps what was last said of it, and its status is not written.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from hammerwork import BatchState

if TYPE_CHECKING:
    from hammerwork import BatchStatus

WINDOW_SECONDS = 60.0
"""The speed is that of so long, or of as long as the last two changes of the counts are apart."""
LEAST_SECONDS = 3.0
"""What was seen for less than this says nothing."""
SAMPLE_SECONDS = 1.0
LONGEST_SECONDS = 10 * 365 * 86_400.0
"""A completion that is further away is not told."""


class Sample(msgspec.Struct, frozen=True):
    """How many jobs had finished at a moment."""

    at: datetime
    done: int


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What the status says of it."""

    jobs_per_second: float
    completes_at: datetime | None


Progress = tuple[Sample, ...]
"""The changes of the counts within the window, with the last one before it; empty while nothing runs."""


def advance(progress: Progress, row: BatchStatus, now: datetime) -> Progress:
    """Return the progress with the batch as it is now. A suspension, and jobs that are retried, begin it anew."""
    if row.suspended or row.state not in {BatchState.PENDING, BatchState.RUNNING}:
        return ()
    sample = Sample(now, row.total_jobs - row.pending_jobs)
    if not progress:
        return (sample,) if row.running_jobs or sample.done else ()
    if sample.done < progress[-1].done:
        return (sample,)
    if sample.done == progress[-1].done:
        return progress
    if len(progress) > 1 and (now - progress[-2].at).total_seconds() < SAMPLE_SECONDS:
        progress = progress[:-1]
    progress = (*progress, sample)
    begin = now - timedelta(seconds=WINDOW_SECONDS)
    inside = next(position for position, each in enumerate(progress) if each.at > begin)
    return progress[max(inside - 1, 0) :]


def speed(progress: Progress, row: BatchStatus) -> Speed | None:
    """Return the speed; None while too little has been seen."""
    if len(progress) < 2:
        return None
    first, last = progress[0], progress[-1]
    seconds = (last.at - first.at).total_seconds()
    if seconds < LEAST_SECONDS:
        return None
    per_second = (last.done - first.done) / seconds
    left = row.pending_jobs / per_second
    completes_at = last.at + timedelta(seconds=left) if left <= LONGEST_SECONDS else None
    return Speed(jobs_per_second=float(f"{per_second:.3g}"), completes_at=completes_at)
