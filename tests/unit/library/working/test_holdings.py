"""How many jobs a worker asks for."""

from __future__ import annotations

import pytest

from hammerwork.working.holdings import MAX_CLAIM_JOBS, Holdings
from tests.unit.library.working.holding import held


@pytest.mark.parametrize(
    ("waiting", "busy", "average_seconds", "expected"),
    [
        (0, 0, None, 10),
        (0, 10, 10.0, 0),  # slow jobs: whatever waited here could start elsewhere
        (0, 9, 10.0, 1),
        (1, 9, 10.0, 0),
        (0, 0, 0.01, 500),  # what ten lanes run in half a second
        (60, 10, 0.01, 0),
        (0, 0, 1e-6, MAX_CLAIM_JOBS),
        (MAX_CLAIM_JOBS, 0, 1e-6, MAX_CLAIM_JOBS),  # fast ones: the next exchange is under way while these run
        (MAX_CLAIM_JOBS + 1, 0, 1e-6, 0),
    ],
)
def test_jobs_wanted(waiting: int, busy: int, average_seconds: float | None, expected: int) -> None:
    holdings = Holdings()
    if waiting:
        holdings.install(held(waiting))
    assert holdings.wanted(10, busy, average_seconds) == expected


def test_seconds_of_work_that_wait() -> None:
    holdings = Holdings()
    assert holdings.seconds_ahead(10, None) == 0
    holdings.install(held(100))
    assert holdings.seconds_ahead(10, None) == 0
    assert holdings.seconds_ahead(10, 0.2) == pytest.approx(2.0)
