from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import BatchState, BatchStatus
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch.facts import Facts, Load
from hammerwork_operator.jobbatch.plan import (
    NO_DATABASE_DELETION_SECONDS,
    NO_SECRET_DELETION_SECONDS,
    STALLED_SECONDS,
    Plan,
    Step,
    decide,
    needs_database,
)
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.kube.situation import Obstacle
from tests.unit.operator.builders import NOW, ago, batch, row

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.observed import ObservedBatch

REFUSED = Obstacle(Reason.DATABASE_REFUSED, "no right")
AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True)
NO_SECRET = Obstacle(Reason.SECRET_NOT_FOUND, "no Secret")


def enqueued(of: ObservedBatch) -> dict[str, Any]:
    return {"batchId": str(of.batch_id), "conditions": [{"type": "Enqueued", "status": "True", "reason": "Enqueued"}]}


def ended(of: ObservedBatch, *, seconds_ago: float, kind: str = "Complete") -> dict[str, Any]:
    return {
        "batchId": str(of.batch_id),
        "completionTime": timestamp(ago(seconds_ago)),
        "conditions": [{"type": kind, "status": "True", "reason": "Completed"}],
    }


def step(observed: ObservedBatch, facts: Facts) -> Step:
    return decide(observed, facts, NOW).step


@pytest.mark.parametrize(
    ("observed", "needed"),
    [
        (batch(), True),
        (batch(finalizers=[]), False),
        (batch({"batchSize": 0}), False),
        (batch(status=ended(batch(), seconds_ago=1)), False),
        (batch(deletionTimestamp=timestamp(NOW)), True),
        (batch(deletionTimestamp=timestamp(NOW), finalizers=[]), False),
        (batch({"deletionPolicy": "Cancel"}, deletionTimestamp=timestamp(NOW)), True),
        (batch({"deletionPolicy": "Orphan"}, deletionTimestamp=timestamp(NOW)), False),
        (batch(status=ended(batch(), seconds_ago=1), deletionTimestamp=timestamp(NOW)), True),
    ],
    ids=["new", "no finalizer", "bad spec", "ended", "deleted", "released", "cancel", "orphan", "ended and deleted"],
)
def test_the_database_is_asked_only_where_it_matters(observed: ObservedBatch, needed: bool) -> None:
    assert needs_database(observed) is needed


def test_the_finalizer_comes_before_the_first_row() -> None:
    assert step(batch(finalizers=[]), Facts()) is Step.ADD_FINALIZER


def test_a_batch_that_is_not_in_the_database_is_loaded() -> None:
    assert step(batch(), Facts()) is Step.LOAD


def test_a_batch_that_is_half_loaded_is_loaded_on() -> None:
    assert step(batch(), Facts(row=row(batch(), BatchState.LOADING, total_jobs=1))) is Step.LOAD


def test_a_load_that_runs_is_not_started_again() -> None:
    assert step(batch(), Facts(load=Load(jobs=1))) is Step.WAIT


@pytest.mark.parametrize("load", [None, Load(jobs=1)])
def test_a_batch_that_is_suspended_while_it_loads_is_held_before_its_jobs_may_start(load: Load | None) -> None:
    observed = batch({"suspend": True})
    loading = row(observed, BatchState.LOADING, total_jobs=1)
    assert step(observed, Facts(row=loading, load=load)) is Step.SUSPEND
    held = row(observed, BatchState.LOADING, total_jobs=1, suspended=True)
    assert step(observed, Facts(row=held, load=load)) is (Step.LOAD if load is None else Step.WAIT)


def test_jobs_that_cannot_be_loaded_are_not_tried_again() -> None:
    assert step(batch(), Facts(load=Load(failure="bad"))) is Step.REST


def test_a_batch_whose_rows_were_removed_is_not_run_again_by_itself() -> None:
    observed = batch(status=enqueued(batch()))
    assert decide(observed, Facts(), NOW) == Plan(Step.WAIT, STALLED_SECONDS)
    assert decide(observed, Facts(row=row(batch())), NOW) == Plan(Step.WAIT)


def test_rows_of_another_run_do_not_count_as_enqueued() -> None:
    observed = batch({"runId": "second"}, status=enqueued(batch({"runId": "first"})))
    assert step(observed, Facts()) is Step.LOAD


def test_an_id_that_another_batch_has_is_left_alone() -> None:
    other = row(batch(), BatchState.LOADING, fingerprint="other")
    assert decide(batch(), Facts(row=other), NOW) == Plan(Step.WAIT, STALLED_SECONDS)


@pytest.mark.parametrize("obstacle", [AWAY, NO_SECRET])
def test_without_a_database_the_batch_waits_and_looks_again(obstacle: Obstacle) -> None:
    plan = decide(batch(), Facts(obstacle=obstacle), NOW)
    assert plan.step is Step.WAIT
    assert plan.after is not None


@pytest.mark.parametrize(
    ("wanted", "is_suspended", "expected"),
    [(True, False, Step.SUSPEND), (False, True, Step.RESUME), (True, True, Step.WAIT), (False, False, Step.WAIT)],
)
def test_suspend_follows_the_spec(wanted: bool, is_suspended: bool, expected: Step) -> None:
    observed = batch({"suspend": wanted})
    assert step(observed, Facts(row=row(observed, suspended=is_suspended))) is expected


@pytest.mark.parametrize("state", [BatchState.FAILED, BatchState.CANCELLED])
def test_a_batch_that_has_ended_is_not_suspended(state: BatchState) -> None:
    observed = batch({"suspend": True})
    assert step(observed, Facts(row=row(observed, state))) is Step.WAIT


def test_the_deadline_counts_from_the_first_row() -> None:
    observed = batch({"activeDeadlineSeconds": 60})
    plan = decide(observed, Facts(row=row(observed, created_at=ago(45))), NOW)
    assert plan == Plan(Step.WAIT, 15.0)
    assert step(observed, Facts(row=row(observed, created_at=ago(60)))) is Step.CANCEL


def test_the_deadline_does_not_cancel_twice() -> None:
    observed = batch({"activeDeadlineSeconds": 60})
    assert step(observed, Facts(row=row(observed, BatchState.CANCELLED, created_at=ago(99)))) is Step.WAIT


def test_a_finished_batch_without_ttl_is_forgotten() -> None:
    assert step(batch(status=ended(batch(), seconds_ago=1)), Facts()) is Step.REST


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_the_time_to_live_ends_in_deletion(kind: str) -> None:
    spec = {"ttlSecondsAfterFinished": 100}
    assert decide(batch(spec, ended(batch(), seconds_ago=40, kind=kind)), Facts(), NOW) == Plan(Step.WAIT, 60.0)
    assert step(batch(spec, ended(batch(), seconds_ago=100, kind=kind)), Facts()) is Step.DELETE_OBJECT


def test_the_status_of_another_batch_does_not_end_this_one() -> None:
    assert step(batch({"queue": "other"}, ended(batch(), seconds_ago=1)), Facts()) is Step.LOAD


def deleted(spec: dict[str, Any], seconds_ago: float, status: dict[str, Any] | None = None) -> ObservedBatch:
    return batch(spec, status, deletionTimestamp=timestamp(ago(seconds_ago)))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("Delete", Step.REMOVE_ROWS), ("Cancel", Step.CANCEL_ROWS), ("Orphan", Step.RELEASE)],
)
def test_deletion_follows_the_policy(policy: str, expected: Step) -> None:
    assert step(deleted({"deletionPolicy": policy}, 0), Facts(row=row(batch()))) is expected


def test_deletion_after_the_time_to_live_keeps_the_result() -> None:
    observed = deleted({"ttlSecondsAfterFinished": 5}, 1, ended(batch(), seconds_ago=30))
    assert decide(observed, Facts(), NOW) == Plan(Step.RELEASE)


def test_deletion_by_a_person_before_the_time_to_live_ends_removes_the_rows() -> None:
    observed = deleted({"ttlSecondsAfterFinished": 500}, 1, ended(batch(), seconds_ago=30))
    assert step(observed, Facts()) is Step.REMOVE_ROWS


@pytest.mark.parametrize(
    ("obstacle", "limit"),
    [
        (AWAY, NO_DATABASE_DELETION_SECONDS),
        (REFUSED, NO_DATABASE_DELETION_SECONDS),
        (NO_SECRET, NO_SECRET_DELETION_SECONDS),
    ],
)
def test_deletion_does_not_wait_for_ever(obstacle: Obstacle, limit: float) -> None:
    assert step(deleted({}, limit - 1), Facts(obstacle=obstacle)) is Step.WAIT
    assert decide(deleted({}, limit), Facts(obstacle=obstacle), NOW) == Plan(Step.RELEASE, orphaned=obstacle.message)


def test_deletion_without_our_finalizer_is_none_of_our_business() -> None:
    observed = batch(finalizers=["other"], deletionTimestamp=timestamp(NOW))
    assert step(observed, Facts()) is Step.REST


def test_orphaning_needs_no_database() -> None:
    assert decide(deleted({"deletionPolicy": "Orphan"}, 0), Facts(obstacle=AWAY), NOW) == Plan(Step.RELEASE)


def test_a_spec_that_cannot_be_read_is_left_alone() -> None:
    observed = batch({"partialFailureMode": "Later"})
    assert observed.problem is not None
    assert step(observed, Facts()) is Step.REST


@given(
    state=st.sampled_from(BatchState),
    suspended=st.booleans(),
    spec=st.fixed_dictionaries(
        {},
        optional={
            "suspend": st.booleans(),
            "activeDeadlineSeconds": st.integers(1, 100),
            "ttlSecondsAfterFinished": st.integers(0, 100),
            "deletionPolicy": st.sampled_from(["Delete", "Cancel", "Orphan"]),
        },
    ),
    finished=st.booleans(),
    known=st.booleans(),
    obstacle=st.sampled_from([None, AWAY, NO_SECRET]),
)
def test_rows_go_only_with_their_object(
    *,
    state: BatchState,
    suspended: bool,
    spec: dict[str, Any],
    finished: bool,
    known: bool,
    obstacle: Obstacle | None,
) -> None:
    observed = batch(spec, enqueued(batch()) if known else None)
    found = row(observed, state, suspended=suspended, finished_at=ago(1) if finished else None)
    for facts in (Facts(row=found), Facts(obstacle=obstacle), Facts()):
        assert step(observed, facts) not in {Step.REMOVE_ROWS, Step.CANCEL_ROWS, Step.RELEASE, Step.DELETE_OBJECT}


def test_a_running_batch_is_woken_by_its_progress_only() -> None:
    observed = batch()
    found: BatchStatus = row(observed)
    assert decide(observed, Facts(row=found), NOW) == Plan(Step.WAIT)


def test_jobs_of_configmaps_are_loaded_once_the_status_has_the_batch() -> None:
    spec = {"jobs": None, "configMapRefs": [{"name": "part", "key": "a.csv"}]}
    found = batch(spec).with_content("one")
    assert decide(found, Facts(), NOW) == Plan(Step.WAIT, 0.2)
    assert decide(found.with_status({"contentDigest": "other"}, "8"), Facts(), NOW).step is Step.WAIT
    assert decide(found.with_status({"contentDigest": "one"}, "8"), Facts(), NOW) == Plan(Step.LOAD)


def test_a_batch_whose_content_was_never_known_is_released_at_once() -> None:
    spec = {"jobs": None, "configMapRefs": [{"name": "part", "key": "a.csv"}]}
    deleted = batch(spec, deletionTimestamp="2026-05-01T12:00:00Z")
    assert not needs_database(deleted)
    assert decide(deleted, Facts(), NOW) == Plan(Step.RELEASE)
    assert needs_database(deleted.with_content("one"))
