"""The deadline of a JobBatch runs as that of a Job of batch/v1: while it is active without a break."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hammerwork import BatchState
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.deadline import deadline_left
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.plan import Step, decide
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.kube.situation import Obstacle
from tests.unit.operator.builders import NOW, ago, batch, condition, row

LIMIT = 100
AWAY = Facts(obstacle=Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True))


def told(suspended: bool, status_before: dict[str, Any] | None = None, seconds_ago: float = 0.0) -> dict[str, Any]:
    """Return the status that the operator wrote so many seconds ago."""
    observed = batch({"suspend": suspended}, status_before)
    facts = Facts(row=row(observed, suspended=suspended, created_at=ago(1_000)))
    return status.compute(observed, facts, ago(seconds_ago))


def step(spec: dict[str, Any], before: dict[str, Any], *, suspended: bool = False) -> Step:
    observed = batch({"activeDeadlineSeconds": LIMIT, **spec}, before)
    return decide(observed, Facts(row=row(observed, suspended=suspended, created_at=ago(1_000))), NOW).step


@pytest.mark.parametrize(("seconds", "left"), [(None, None), (15, 5.0), (10, 0.0), (4, -6.0)])
def test_it_counts_from_the_first_row(seconds: int | None, left: float | None) -> None:
    observed = batch({} if seconds is None else {"activeDeadlineSeconds": seconds})
    assert deadline_left(observed, row(observed, created_at=ago(10)), NOW) == left


def test_it_does_not_run_while_the_batch_is_suspended() -> None:
    suspended = told(True, seconds_ago=900)
    assert step({"suspend": True}, suspended, suspended=True) is Step.WAIT
    assert "startTime" not in suspended


def test_suspending_comes_before_a_deadline_that_passes_meanwhile() -> None:
    assert step({"suspend": True}, told(False)) is Step.SUSPEND


def test_it_starts_anew_when_the_batch_is_resumed() -> None:
    resumed = told(False, told(True, seconds_ago=900), seconds_ago=99)
    assert resumed["startTime"] == timestamp(ago(99))
    assert step({}, resumed) is Step.WAIT
    assert step({"activeDeadlineSeconds": 99}, resumed) is Step.CANCEL


def test_an_operator_that_ended_between_resuming_and_saying_so_counts_from_the_next_look() -> None:
    assert step({}, told(True, seconds_ago=900)) is Step.WAIT


def test_a_start_time_that_an_older_operator_left_does_not_count() -> None:
    before = {**told(True, seconds_ago=900), "startTime": timestamp(ago(1_000))}
    assert "startTime" not in status.compute(
        batch({"suspend": True}, before), Facts(row=row(batch(), suspended=True)), NOW
    )
    resumed = {**told(False, before, seconds_ago=50), "startTime": timestamp(ago(1_000))}
    assert step({}, resumed) is Step.WAIT


@pytest.mark.parametrize(
    ("finished_ago", "reason"),
    [
        (0.0, "DeadlineExceeded"),
        (0.5, "DeadlineExceeded"),  # the database's clock is behind the operator's
        (-0.5, "DeadlineExceeded"),  # or ahead of it
        (5, "Cancelled"),  # by somebody else, while the operator was not there
    ],
)
def test_a_deadline_is_told_although_clocks_differ(finished_ago: float, reason: str) -> None:
    observed = batch({"activeDeadlineSeconds": LIMIT})
    cancelled = row(
        observed, BatchState.CANCELLED, cancelled_jobs=2, created_at=ago(LIMIT), finished_at=ago(finished_ago)
    )
    assert condition(status.compute(observed, Facts(row=cancelled), NOW), "Failed") == f"True {reason}"


@pytest.mark.parametrize("edit", [{"activeDeadlineSeconds": 10 * LIMIT}, {"suspend": True}, {}], ids=str)
def test_a_deadline_that_has_ended_the_batch_stays_its_reason_whatever_the_spec_says_later(
    edit: dict[str, Any],
) -> None:
    """Jobs that were running come to their end meanwhile."""
    observed = batch({"activeDeadlineSeconds": LIMIT})
    cancelled = row(observed, BatchState.CANCELLED, cancelled_jobs=1, running_jobs=1, created_at=ago(LIMIT))
    before = status.compute(observed, Facts(row=cancelled), NOW)
    assert condition(before, "Failed") == "True DeadlineExceeded"
    ended = replace(cancelled, running_jobs=0, completed_jobs=1, finished_at=ago(-5))
    for now_so in (cancelled, ended):
        before = status.compute(batch(edit, before), Facts(row=now_so), ago(-6))
        assert condition(before, "Failed") == "True DeadlineExceeded"
        assert f"{10 * LIMIT}" not in str(before["conditions"])


def test_a_batch_that_is_cancelled_shortly_before_its_deadline_is_told_as_cancelled() -> None:
    observed = batch({"activeDeadlineSeconds": LIMIT})
    cancelled = row(observed, BatchState.CANCELLED, cancelled_jobs=2, created_at=ago(LIMIT - 1), finished_at=ago(0))
    assert condition(status.compute(observed, Facts(row=cancelled), NOW), "Failed") == "True Cancelled"


def test_a_batch_that_was_cancelled_before_its_deadline_stays_so_however_long_its_running_jobs_take() -> None:
    spec = {"activeDeadlineSeconds": LIMIT}
    cancelled = row(batch(spec), BatchState.CANCELLED, cancelled_jobs=1, running_jobs=1, created_at=ago(10))
    before = status.compute(batch(spec), Facts(row=cancelled), NOW)
    ended = replace(cancelled, running_jobs=0, completed_jobs=1, finished_at=ago(-2 * LIMIT))
    for now_so in (cancelled, ended):
        before = status.compute(batch(spec, before), Facts(row=now_so), ago(-3 * LIMIT))
        assert condition(before, "Failed") == "True Cancelled"


def test_a_cancellation_while_suspended_is_none_by_the_deadline() -> None:
    for spec in ({"suspend": True}, {}):
        observed = batch({"activeDeadlineSeconds": LIMIT, **spec}, told(True, seconds_ago=900))
        cancelled = row(
            observed, BatchState.CANCELLED, cancelled_jobs=2, suspended=True, created_at=ago(1_000), finished_at=ago(1)
        )
        assert condition(status.compute(observed, Facts(row=cancelled), NOW), "Failed") == "True Cancelled"


@pytest.mark.parametrize("without", [AWAY, Facts()], ids=["database away", "rows gone"])
def test_what_the_spec_says_while_the_rows_cannot_be_seen_suspends_nothing(without: Facts) -> None:
    """The batch runs all the time: its deadline does not begin anew, and no event tells that it was resumed."""
    for first in ({}, told(True, seconds_ago=900)):
        before = told(False, first, seconds_ago=50)
        for suspend, seconds_ago in ((True, 40), (False, 30)):
            observed = batch({"suspend": suspend, "activeDeadlineSeconds": LIMIT}, before)
            then = status.compute(observed, without, ago(seconds_ago))
            assert condition(then, "Suspended") == condition(before, "Suspended")
            assert not {note.reason for note in status.notes(before, then)} & {Reason.SUSPENDED, Reason.RESUMED}
            assert observed.with_status(then, "8").stated.resumed_at == observed.stated.resumed_at
            before = then


@settings(deadline=None, max_examples=40)
@given(
    story=st.lists(
        st.tuples(st.sampled_from(["wait", "suspend", "resume", "outage"]), st.integers(1, 60)), min_size=1, max_size=25
    ),
    limit=st.integers(2, 120),
)
def test_whatever_happens_the_batch_is_cancelled_once_it_was_active_for_so_long(
    story: list[tuple[str, int]], limit: int
) -> None:
    """Each turn reads the object as a new process would: only what the status says is remembered."""
    now, active_since = NOW, NOW
    suspended = False
    before: dict[str, Any] = {}
    for what, seconds in story:
        changed = {"suspend": True, "resume": False}.get(what, suspended)
        if suspended and not changed:
            active_since = now
        suspended = changed
        observed = batch({"suspend": suspended, "activeDeadlineSeconds": limit}, before)
        facts = Facts(row=row(observed, suspended=suspended, created_at=NOW))
        before = status.compute(observed, AWAY if what == "outage" else facts, now)
        now += timedelta(seconds=seconds)
        observed = observed.with_status(before, "8")
        late = not suspended and (now - active_since).total_seconds() >= limit
        assert (decide(observed, facts, now).step is Step.CANCEL) == late
        if late:
            return
