"""How fast a batch gets on: from counts and their times, and from nothing else."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import BatchState, BatchStatus
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.speed import LEAST_SECONDS, WINDOW_SECONDS, Progress, Speed, advance, speed
from hammerwork_operator.kube import statuses
from tests.unit.operator.builders import NOW, ago, batch, row

BATCH = batch()
TOTAL = 1_000_000


def at(done: int, **fields: Any) -> BatchStatus:
    return row(BATCH, **{"total_jobs": TOTAL, "completed_jobs": done, "running_jobs": 10, **fields})


def followed(*seen: tuple[float, BatchStatus]) -> tuple[Progress, BatchStatus]:
    """Return the progress after the batch was seen so at these seconds."""
    progress: Progress = ()
    for seconds, found in seen:
        progress = advance(progress, found, NOW + timedelta(seconds=seconds))
    return progress, seen[-1][1]


def per_second(*seen: tuple[float, BatchStatus]) -> float | None:
    found = speed(*followed(*seen))
    return None if found is None else found.jobs_per_second


def test_it_is_not_known_before_something_was_seen_for_a_while() -> None:
    assert per_second((0, at(0))) is None
    assert per_second((0, at(0)), (60, at(0))) is None
    assert per_second((0, at(0)), (LEAST_SECONDS - 1, at(500))) is None
    assert per_second((0, at(0)), (LEAST_SECONDS, at(300))) == 100


def test_the_time_before_the_first_job_runs_does_not_count() -> None:
    assert per_second((0, at(0, running_jobs=0)), (1_000, at(0)), (1_010, at(100))) == 10


def test_what_had_been_done_before_it_was_seen_does_not_count() -> None:
    assert per_second((0, at(500_000)), (10, at(500_100))) == 10


def test_it_is_that_of_the_last_minute() -> None:
    quick = [(float(second), at(1_000 * second)) for second in range(100)]
    slow = [(99.0 + second, at(99_000 + second)) for second in range(1, 62)]
    assert per_second(*quick) == 1_000
    assert per_second(*quick, *slow) == 1


def test_slow_jobs_are_measured_over_what_they_take() -> None:
    assert per_second((0, at(0)), (600, at(1)), (1_200, at(2))) == 0.00167


def test_a_suspension_begins_it_anew() -> None:
    before = [(0.0, at(0)), (10.0, at(100))]
    assert per_second(*before, (20, at(100, suspended=True))) is None
    assert per_second(*before, (20, at(100, suspended=True)), (1_000, at(100)), (1_004, at(180))) == 20


def test_jobs_that_are_retried_begin_it_anew() -> None:
    assert per_second((0, at(0)), (10, at(100)), (20, at(50)), (30, at(60))) == 1


@pytest.mark.parametrize("state", [BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED, BatchState.LOADING])
def test_what_does_not_run_has_none(state: BatchState) -> None:
    assert per_second((0, at(0)), (10, at(100)), (11, at(110, state=state))) is None


def test_the_completion_follows_from_what_is_left() -> None:
    found = speed(*followed((0, at(0)), (10, at(TOTAL // 2))))
    assert found == Speed(jobs_per_second=50_000, completes_at=NOW + timedelta(seconds=20))
    far = speed(*followed((0, at(0, total_jobs=100_000_000)), (86_400, at(1, total_jobs=100_000_000))))
    assert far == Speed(jobs_per_second=1.16e-05, completes_at=None)


STORY = st.lists(st.tuples(st.floats(0.05, 200), st.integers(-5, 5_000), st.booleans()), min_size=1, max_size=60)


@given(STORY)
def test_whatever_happens_it_is_between_the_slowest_and_the_fastest_that_was_seen(
    story: list[tuple[float, int, bool]],
) -> None:
    progress: Progress = ()
    now, done = NOW, 0
    for seconds, more, suspended in story:
        now += timedelta(seconds=seconds)
        done = max(done + more, 0)
        found = at(done, suspended=suspended)
        progress = advance(progress, found, now)
        assert progress == advance(progress, found, now + timedelta(hours=1)), "the clock alone changes nothing"
        assert len(progress) <= WINDOW_SECONDS + 3
        said = speed(progress, found)
        if suspended:
            assert said is None
        if said is not None:
            steps = list(itertools.pairwise(progress))
            rates = [(b.done - a.done) / (b.at - a.at).total_seconds() for a, b in steps]
            assert min(rates) * 0.99 <= said.jobs_per_second <= max(rates) * 1.01
            assert said.completes_at is None or said.completes_at >= progress[-1].at


def test_the_status_says_it_while_the_batch_runs_and_only_then() -> None:
    fast = Speed(jobs_per_second=812.0, completes_at=ago(-60))
    running = status.compute(BATCH, Facts(row=row(BATCH), speed=fast), NOW)
    assert (running["jobsPerSecond"], running["estimatedCompletionTime"]) == (812.0, "2026-05-01T12:01:00Z")
    restarted = status.compute(batch(status=running), Facts(row=row(BATCH)), NOW + timedelta(hours=1))
    assert statuses.patch(running, restarted) is None
    ended = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ago(1))
    for found in (row(BATCH, suspended=True), ended):
        after = status.compute(batch(status=running), Facts(row=found), NOW)
        assert set(status.SPEED) & after.keys() == set()
