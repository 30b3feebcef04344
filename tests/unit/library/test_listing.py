"""Where jobs stand, told from chunks, claims and failures."""

from __future__ import annotations

from typing import Any

import pytest

from hammerwork import JobStatus
from hammerwork.backends.listing import Window, cut, disjoint, standings, waiting_spans

PENDING, SCHEDULED, RUNNING = JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING
COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED


def chunk(number: int, lo: int, hi: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "attempt": 1, "lo": lo, "hi": hi, "spans": None, "next": 0, "state": "ready"} | more


def statuses(known: Window, window: range) -> list[JobStatus]:
    return [standing.status for standing in standings(known, window)]


def window(chunks: list[dict[str, Any]], *, state: str = "Pending", total: int = 6, **more: Any) -> Window:
    return Window(
        state=state, total=total, priorities=[(0, 2)], chunks=chunks, **({"claims": [], "failures": []} | more)
    )


def test_a_chunk_that_waits_runs_and_has_ended_jobs() -> None:
    known = window(
        [chunk(1, 0, 5, next=4)],
        claims=[{"chunk_id": 1, "lo": 1, "hi": 3, "remaining": [(1, 1), (3, 3)]}],
        failures=[{"idx": 2, "attempt": 1, "final": True}],
    )
    assert statuses(known, range(10)) == [COMPLETED, RUNNING, FAILED, RUNNING, PENDING, PENDING]


def test_jobs_of_scattered_spans_belong_to_the_newest_chunk() -> None:
    known = window(
        [
            chunk(1, 0, 5, next=6, state="taken"),
            chunk(2, 1, 5, spans=[(1, 1), (3, 3), (5, 5)], next=1, attempt=2),
            chunk(3, 3, 3, state="scheduled", attempt=3),
        ],
        claims=[{"chunk_id": 2, "lo": 1, "hi": 1, "remaining": None}],
    )
    assert statuses(known, range(6)) == [COMPLETED, RUNNING, COMPLETED, SCHEDULED, COMPLETED, PENDING]
    assert [standing.attempts for standing in standings(known, range(6))] == [1, 2, 1, 2, 1, 1]
    assert statuses(known, range(3, 5)) == [SCHEDULED, COMPLETED]


@pytest.mark.parametrize("state", ["Cancelled", "Failed"])
def test_what_waits_in_a_stopped_batch_is_cancelled(state: str) -> None:
    assert statuses(window([chunk(1, 0, 5, next=2)], state=state), range(6)) == [COMPLETED] * 2 + [CANCELLED] * 4


def test_spans_are_cut_by_jobs() -> None:
    spans = [(0, 1), (5, 5), (8, 9)]
    assert [cut(spans, first) for first in range(6)] == [
        spans,
        [(1, 1), (5, 5), (8, 9)],
        [(5, 5), (8, 9)],
        [(8, 9)],
        [(9, 9)],
        [],
    ]


def test_where_jobs_of_a_status_can_be() -> None:
    waiting = [chunk(1, 10, 19, next=5), chunk(2, 2, 7, spans=[(2, 2), (7, 7)], state="scheduled")]
    found = {
        status: waiting_spans(status, waiting, 0, total=30, stopped=False) for status in (PENDING, SCHEDULED, COMPLETED)
    }
    assert found == {PENDING: [(15, 19)], SCHEDULED: [(2, 2), (7, 7)], COMPLETED: [(0, 1), (3, 6), (8, 14), (20, 29)]}
    assert disjoint([(5, 9), (0, 6), (7, 12)]) == [(0, 6), (7, 9), (10, 12)]
