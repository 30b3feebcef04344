"""Finished batches that are to run again, that run again, or whose status is not what the database says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hammerwork import BatchState, BatchStatus
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.dependencies import Dependencies
from hammerwork_operator.jobbatch.facts import Facts, Load
from hammerwork_operator.jobbatch.observed import ObservedBatch, observe
from hammerwork_operator.jobbatch.plan import STALLED_SECONDS, Plan, Step, decide, needs_database
from hammerwork_operator.jobbatch.retrying import differs, retry_arguments
from hammerwork_operator.kube import statuses
from hammerwork_operator.kube.situation import Obstacle
from tests.unit.operator.builders import NOW, ago, batch, condition, row

BATCH = batch()
AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True)
DEPENDENCY_FAILED = Facts(dependencies=Dependencies(reason=Reason.DEPENDENCY_FAILED, message="JobBatch a has failed"))


def with_errors(**fields: Any) -> BatchStatus:
    counts = {"completed_jobs": 1, "failed_jobs": 1, "finished_at": ago(5), **fields}
    return row(BATCH, BatchState.COMPLETED_WITH_ERRORS, **counts)


def failed(**fields: Any) -> BatchStatus:
    return row(BATCH, BatchState.FAILED, failed_jobs=1, cancelled_jobs=1, finished_at=ago(5), **fields)


def cancelled(**fields: Any) -> BatchStatus:
    return row(BATCH, BatchState.CANCELLED, cancelled_jobs=2, finished_at=ago(5), **fields)


def again(**fields: Any) -> BatchStatus:
    return row(BATCH, **{"completed_jobs": 1, "retried_at": ago(1), **fields})


def finished(of: BatchStatus, attempt: int | None = None, **spec: Any) -> ObservedBatch:
    """The object of a batch that has ended so, with another attempt in its spec since then."""
    told = status.compute(BATCH, Facts(row=of), NOW)
    retry = {} if attempt is None else {"retry": {"attempt": attempt}}
    return batch({**retry, **spec}, told, generation=2)


def after(observed: ObservedBatch, facts: Facts) -> dict[str, Any]:
    return status.compute(observed, facts, NOW)


def step(observed: ObservedBatch, facts: Facts, *, late: float = 0.0) -> Step:
    return decide(observed, facts, NOW + timedelta(seconds=late)).step


def events(before: ObservedBatch, then: dict[str, Any], *, edited: bool = False) -> list[str]:
    return [note.reason.value for note in status.notes(before.status, then, edited=edited)]


def test_a_retry_defines_no_jobs() -> None:
    asked = batch({"retry": {"attempt": 3, "errorTypes": ["KeyError"], "indexes": "5-9,77"}})
    assert (asked.fingerprint, asked.batch_id) == (BATCH.fingerprint, BATCH.batch_id)
    assert retry_arguments(asked) == {"attempt": 3, "error_types": ["KeyError"], "indexes": "5-9,77"}
    assert retry_arguments(batch({"retry": {"attempt": 1}})) == {"attempt": 1, "error_types": None, "indexes": None}


@pytest.mark.parametrize(
    ("observed", "found", "step"),
    [
        (finished(with_errors()), None, Step.REST),
        (finished(with_errors(), 0), None, Step.REST),
        (finished(with_errors(), 2), with_errors(), Step.RETRY),
        (finished(failed(), 2), failed(), Step.RETRY),
        (finished(cancelled(), 2), cancelled(), Step.REST),
        (finished(with_errors(), 2), with_errors(retry_attempt=2), Step.REST),  # nothing to retry, or created with it
        (finished(with_errors(retry_attempt=2), 2), None, Step.REST),
        (finished(with_errors(retry_attempt=2), 1), None, Step.REST),
        (finished(with_errors(), 2), again(retry_attempt=2), Step.WAIT),  # it has begun; the status is not written yet
        (finished(with_errors(), 2), again(retry_attempt=1), Step.WAIT),  # it waits for the end of another one
        (finished(with_errors()), again(), Step.WAIT),  # somebody else's
        (finished(with_errors(retry_attempt=2), 2), with_errors(), Step.RETRY),  # the database has forgotten it
        (batch({"retry": {"attempt": 2}}), row(BATCH), Step.WAIT),
        (batch({"retry": {"attempt": 2}}), with_errors(), Step.RETRY),  # raised while it ran
        (batch({"retry": {"attempt": 2}}), None, Step.LOAD),
        (finished(with_errors(), 2, ttlSecondsAfterFinished=1), with_errors(), Step.RETRY),
        (finished(with_errors(), ttlSecondsAfterFinished=1), again(), Step.WAIT),
        (finished(with_errors(), ttlSecondsAfterFinished=1), None, Step.DELETE_OBJECT),
        (finished(with_errors()), row(BATCH, BatchState.LOADING, total_jobs=1), Step.LOAD),  # an older database
    ],
)
def test_the_step(observed: ObservedBatch, found: BatchStatus | None, step: Step) -> None:
    assert decide(observed, Facts(row=found), NOW).step is step


def test_only_a_raised_attempt_needs_the_database() -> None:
    assert [needs_database(finished(with_errors(retry_attempt=1), attempt)) for attempt in (None, 0, 1, 2)] == [
        False,
        False,
        False,
        True,
    ]


def test_the_deadline_begins_anew_with_the_retry() -> None:
    limited = finished(with_errors(), activeDeadlineSeconds=8)
    assert decide(limited, Facts(row=row(BATCH)), NOW).step is Step.CANCEL
    assert decide(limited, Facts(row=again()), NOW) == Plan(Step.WAIT, 7)
    late = again(state=BatchState.CANCELLED, cancelled_jobs=1, retried_at=ago(9), finished_at=ago(0))
    assert condition(after(limited, Facts(row=late)), "Failed") == "True DeadlineExceeded"
    early = again(state=BatchState.CANCELLED, cancelled_jobs=1, retried_at=ago(7), finished_at=ago(0))
    assert condition(after(limited, Facts(row=early)), "Failed") == "True Cancelled"


def test_a_batch_that_runs_again_has_no_end_until_it_ends_again() -> None:
    before = finished(with_errors(), 2)
    assert condition(before.status, "Succeeded") == "False CompletedWithErrors"
    running = after(before, Facts(row=again(retry_attempt=2), errors=()))
    kinds = ("Ready", "Enqueued", "Complete", "Failed", "Succeeded")
    assert [condition(running, kind) for kind in kinds] == ["True Running", "True Enqueued", "False Retrying", "-", "-"]
    assert (running["retryAttempt"], running["failedJobs"], running["observedGeneration"]) == (2, 0, 2)
    assert "completionTime" not in running
    assert "errors" not in running
    assert events(before, running) == ["Retrying"]
    now = batch({"retry": {"attempt": 2}}, running, generation=2)
    assert not now.stated.finished
    away = after(now, Facts(obstacle=AWAY))
    assert (condition(away, "Complete"), away["retryAttempt"]) == ("False Retrying", 2)
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ago(0), retried_at=ago(1), retry_attempt=2)
    ended = after(now, Facts(row=done))
    assert [condition(ended, kind) for kind in ("Complete", "Succeeded")] == ["True Completed", "True Completed"]
    assert events(now, ended) == ["Completed"]
    # So quick that nobody saw it run.
    assert events(before, after(before, Facts(row=done))) == ["Retrying", "Completed"]


def test_a_failed_batch_that_completes_has_not_failed() -> None:
    before = finished(failed(), 1)
    running = batch(None, after(before, Facts(row=again(retry_attempt=1))))
    assert condition(running.status, "Failed") == "False Retrying"
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ago(0), retried_at=ago(1), retry_attempt=1)
    ended = after(running, Facts(row=done))
    assert [condition(ended, kind) for kind in ("Complete", "Failed", "Stalled")] == [
        "True Completed",
        "False Completed",
        "False Completed",
    ]


def test_what_cannot_be_retried_says_so() -> None:
    nothing = after(before := finished(with_errors(), 2), Facts(row=with_errors(retry_attempt=2)))
    assert (condition(nothing, "Complete"), nothing["retryAttempt"]) == ("True CompletedWithErrors", 2)
    assert events(before, nothing) == ["NothingToRetry"]
    refused = after(finished(cancelled(), 2), Facts(row=cancelled()))
    assert condition(refused, "Failed") == "True Cancelled"
    assert "a cancelled batch cannot be retried" in refused["conditions"][0]["message"]
    assert "retryAttempt" not in refused


@pytest.mark.parametrize(
    ("facts", "ready", "plan"),
    [
        (Facts(obstacle=AWAY), "Unknown DatabaseUnavailable", Plan(Step.WAIT, 2)),
        (Facts(), "False RowsMissing", Plan(Step.WAIT, STALLED_SECONDS)),
        (Facts(row=with_errors(), met=AWAY), "Unknown DatabaseUnavailable", Plan(Step.RETRY)),
    ],
)
def test_what_is_in_the_way_of_a_retry_is_told_beside_the_end(facts: Facts, ready: str, plan: Plan) -> None:
    before = finished(with_errors(), 2)
    told = after(before, facts)
    assert (condition(told, "Ready"), condition(told, "Complete")) == (ready, "True CompletedWithErrors")
    assert told["completionTime"] == before.status["completionTime"]
    assert decide(before, facts, NOW) == plan
    without = batch(None, told, generation=3)  # the retry is taken out of the spec again
    assert not needs_database(without)
    assert condition(after(without, Facts()), "Ready") == "True CompletedWithErrors"


def test_a_finished_object_of_the_version_before_is_not_written() -> None:
    """5,000 of them would be 5,000 writes at the start of an operator."""
    told = status.compute(BATCH, Facts(row=with_errors()), NOW)
    told["conditions"] = [entry for entry in told["conditions"] if entry["type"] != "Succeeded"]
    old = batch(None, told)
    assert statuses.patch(old.status, after(old, Facts())) is None
    assert not differs(old, with_errors())


def hand(**fields: Any) -> ObservedBatch:
    """A finished object with fields of its status that somebody wrote."""
    return batch(None, {**finished(with_errors()).status, **fields})


@pytest.mark.parametrize(
    ("observed", "found", "expected"),
    [
        (finished(with_errors()), with_errors(), False),
        (finished(with_errors()), again(), True),
        (finished(with_errors()), with_errors(finished_at=ago(1)), True),
        (finished(with_errors()), with_errors(retry_attempt=1), True),
        (finished(with_errors()), with_errors(completed_jobs=0, failed_jobs=2), True),
        (finished(with_errors()), with_errors(fingerprint="other"), False),
        (finished(with_errors()), again(fingerprint="other"), False),
        (hand(completedJobs=999), with_errors(), True),
        (hand(progress="7%"), with_errors(), True),
        (hand(retryAttempt=9), with_errors(), True),
        (hand(completionTime="2020-01-01T00:00:00Z"), with_errors(), True),
    ],
)
def test_what_a_finished_object_does_not_tell(observed: ObservedBatch, found: BatchStatus, expected: bool) -> None:
    assert differs(observed, found) is expected
    if expected:
        told = after(observed, Facts(row=found))
        assert not (now := observe({**_manifest(), "status": told})).stated.finished or not differs(now, found)


def _manifest() -> dict[str, Any]:
    return {
        "metadata": {"namespace": "mail", "name": "welcome", "uid": "uid-1", "generation": 1, "resourceVersion": "8"},
        "spec": {"queue": "email", "jobs": [{"payload": 1}, {"payload": 2}]},
    }


@pytest.mark.parametrize(
    ("before", "found", "expected"),
    [
        (row(BATCH, completed_jobs=1), row(BATCH), ["DatabaseRolledBack"]),
        (with_errors(), row(BATCH), ["DatabaseRolledBack"]),
        (with_errors(), row(BATCH, completed_jobs=1), ["DatabaseRolledBack"]),
        (with_errors(), row(BATCH, BatchState.LOADING, total_jobs=1), ["DatabaseRolledBack"]),
        (row(BATCH), row(BATCH, BatchState.LOADING, total_jobs=1), ["DatabaseRolledBack"]),
        (row(BATCH), row(BATCH, completed_jobs=1), []),
    ],
)
def test_a_database_that_went_back_is_followed_and_told_of_once(
    before: BatchStatus, found: BatchStatus, expected: list[str]
) -> None:
    observed = batch(None, status.compute(BATCH, Facts(row=before), NOW))
    told = after(observed, Facts(row=found))
    assert events(observed, told) == expected
    assert condition(told, "Complete") in {"-", "False Running", "False Loading"}
    now = batch(None, told)
    assert statuses.patch(now.status, after(now, Facts(row=found))) is None
    assert events(now, told) == []


def test_conditions_written_by_hand_end_no_batch() -> None:
    ended = {"type": "Complete", "status": "True", "reason": "Mine", "message": "", "lastTransitionTime": "x"}
    running = status.compute(BATCH, Facts(row=row(BATCH)), NOW)
    edited = batch(None, {**running, "conditions": [*running["conditions"], ended]})
    assert needs_database(edited)
    told = after(edited, Facts(row=row(BATCH)))
    assert condition(told, "Complete") == "False Running"
    assert events(edited, told, edited=True) == ["StatusEdited"]
    also_the_time = batch(None, {**edited.status, "completionTime": "2026-05-01T12:00:00Z"})
    assert also_the_time.stated.finished
    assert differs(also_the_time, row(BATCH))
    assert decide(also_the_time, Facts(row=row(BATCH)), NOW).step is Step.WAIT
    assert condition(after(also_the_time, Facts()), "Complete") == "True Mine", "nothing is known of its rows"


@pytest.mark.parametrize("facts", [Facts(load=Load(failure="no such key")), DEPENDENCY_FAILED])
def test_a_batch_that_failed_before_it_was_loaded_is_not_retried(facts: Facts) -> None:
    for before, then in ((1, 1), (0, 1)):
        told = status.compute(batch({"retry": {"attempt": before}}), facts, ago(10))
        observed = batch({"retry": {"attempt": then}, "ttlSecondsAfterFinished": 60}, told)
        assert observed.stated.finished
        assert not needs_database(observed)
        assert decide(observed, Facts(), NOW) == Plan(Step.WAIT, 50.0)
        assert step(observed, Facts(), late=60) is Step.DELETE_OBJECT
        assert condition(after(observed, Facts()), "Ready") == condition(told, "Ready")


@pytest.mark.parametrize("facts", [Facts(), Facts(obstacle=AWAY)])
def test_a_retry_without_rows_does_not_hold_up_the_time_to_live(facts: Facts) -> None:
    observed = finished(failed(), 2, ttlSecondsAfterFinished=60)
    assert step(observed, facts) is Step.WAIT
    assert step(observed, facts, late=60) is Step.DELETE_OBJECT
    assert step(observed, Facts(row=failed()), late=60) is Step.RETRY
