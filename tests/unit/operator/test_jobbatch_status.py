from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import BatchState, ErrorGroup
from hammerwork_operator.api.jobbatch import JobBatchStatus
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.facts import Facts, Load
from hammerwork_operator.kube import statuses
from hammerwork_operator.kube.events import event_manifest
from hammerwork_operator.kube.notes import Note, Subject
from hammerwork_operator.kube.situation import Obstacle
from tests.harness.hostile import HOSTILE, steering
from tests.unit.operator.builders import NOW, ago, batch, condition, kstatus, row

BATCH = batch()
ENDED = ago(1)


def enqueued(**fields: Any) -> dict[str, Any]:
    return {**status.compute(BATCH, Facts(row=row(BATCH)), NOW), **fields}


def test_the_deadline_is_told_apart_from_a_cancellation() -> None:
    limited = batch({"activeDeadlineSeconds": 5})
    late = row(limited, BatchState.CANCELLED, cancelled_jobs=2, created_at=ago(10), finished_at=ago(4))
    early = row(limited, BatchState.CANCELLED, cancelled_jobs=2, created_at=ago(10), finished_at=ago(8))
    assert condition(status.compute(limited, Facts(row=late), NOW), "Failed") == "True DeadlineExceeded"
    assert condition(status.compute(limited, Facts(row=early), NOW), "Failed") == "True Cancelled"


def test_what_is_missing_in_the_database_is_reported_and_may_come_back() -> None:
    observed = batch(status=enqueued())
    computed = status.compute(observed, Facts(), NOW)
    assert (condition(computed, "Ready"), kstatus(computed)) == ("False RowsMissing", "Failed")
    assert computed["totalJobs"] == 2
    missing = batch(status=computed)
    assert not missing.stated.finished
    assert condition(status.compute(missing, Facts(row=row(BATCH)), NOW), "Ready") == "True Running"


def test_while_the_database_is_away_the_last_counts_stay() -> None:
    before = status.compute(BATCH, Facts(row=row(BATCH, completed_jobs=1)), NOW)
    away = Facts(obstacle=Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True))
    computed = status.compute(batch(status=before), away, NOW)
    assert (computed["completedJobs"], computed["pendingJobs"], computed["progress"]) == (1, 1, "50%")
    assert condition(computed, "Enqueued") == "True Enqueued"


@pytest.mark.parametrize(
    ("obstacle", "verdict"),
    [
        (Obstacle(Reason.DATABASE_UNAVAILABLE, "no answer", passing=True), "InProgress"),
        (Obstacle(Reason.DATABASE_REFUSED, "no right"), "Failed"),
        (Obstacle(Reason.SECRET_NOT_FOUND, "no Secret"), "Failed"),
    ],
)
def test_how_far_a_batch_is_that_cannot_be_seen_is_said_to_be_unknown(obstacle: Obstacle, verdict: str) -> None:
    seen = batch(status=enqueued())
    first = status.compute(seen, Facts(obstacle=obstacle), NOW + timedelta(seconds=5))
    assert (condition(first, "Ready"), kstatus(first)) == (f"Unknown {obstacle.reason}", verdict)
    assert first["conditions"][0]["message"] == (
        f"{obstacle.message}; the counts are the last that are known, from before 2026-05-01T12:00:05Z"
    )
    later = status.compute(batch(status=first), Facts(obstacle=obstacle), NOW + timedelta(hours=1))
    assert statuses.patch(first, later) is None
    assert condition(status.compute(batch(status=first), Facts(row=row(BATCH)), NOW), "Ready") == "True Running"


def test_a_finished_batch_keeps_its_result_whatever_happens_to_the_database() -> None:
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ENDED)
    before = status.compute(BATCH, Facts(row=done), NOW)
    away = Facts(obstacle=Obstacle(Reason.SECRET_NOT_FOUND, "none"))
    assert status.compute(batch(status=before), away, NOW + timedelta(days=1)) == before


def test_a_finished_batch_acknowledges_a_changed_spec() -> None:
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ENDED)
    before = status.compute(BATCH, Facts(row=done), NOW)
    changed = batch({"ttlSecondsAfterFinished": 9}, before, generation=2)
    assert kstatus(status.compute(changed, Facts(), NOW), generation=2) == "Current"


def test_a_failed_batch_is_finished_only_when_its_running_jobs_are() -> None:
    running = row(BATCH, BatchState.FAILED, failed_jobs=1, running_jobs=1)
    computed = status.compute(BATCH, Facts(row=running), NOW)
    assert condition(computed, "Failed") == "True JobFailed"
    assert not batch(status=computed).stated.finished


def test_the_message_of_a_failed_batch_names_the_job() -> None:
    failed = row(BATCH, BatchState.FAILED, failed_jobs=1, cancelled_jobs=1, finished_at=ENDED)
    errors = [ErrorGroup(type="ValueError", count=1, index=7, message="no such user")]
    computed = status.compute(BATCH, Facts(row=failed, errors=errors), NOW)
    ready = computed["conditions"][0]
    assert ready["message"].startswith("job 7 failed: ValueError: no such user; 0 of 2 jobs completed")
    assert computed["errors"] == [{"type": "ValueError", "count": 1, "index": 7, "message": "no such user"}]


def test_errors_are_bounded() -> None:
    errors = [ErrorGroup(type="E" * 999, count=1, index=i, message="m" * 9999) for i in range(50)]
    computed = status.compute(BATCH, Facts(row=row(BATCH, failed_jobs=1), errors=errors), NOW)
    assert len(computed["errors"]) == 10
    msgspec.convert(computed, JobBatchStatus)


def test_a_load_that_waits_says_for_what() -> None:
    found = status.compute(BATCH, Facts(load=Load(waits="waiting for another query")), NOW)
    ready = next(entry for entry in found["conditions"] if entry["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("Loading", "0 of 2 jobs loaded; waiting for another query")


def test_equal_facts_give_an_equal_status_later() -> None:
    before = status.compute(BATCH, Facts(row=row(BATCH)), NOW)
    after = status.compute(batch(status=before), Facts(row=row(BATCH)), NOW + timedelta(hours=1))
    assert statuses.patch(before, after) is None


def test_a_transition_time_changes_with_the_status_only() -> None:
    loading = status.compute(BATCH, Facts(load=Load()), NOW)
    later = status.compute(batch(status=loading), Facts(row=row(BATCH)), NOW + timedelta(seconds=5))
    times = {entry["type"]: entry["lastTransitionTime"] for entry in later["conditions"]}
    assert times["Ready"] == "2026-05-01T12:00:05Z"
    assert times["Stalled"] == "2026-05-01T12:00:00Z"


@given(
    total=st.integers(1, 10**8),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_the_counts_always_add_up(total: int, shares: tuple[float, float, float]) -> None:
    completed = int(total * shares[0])
    failed = int((total - completed) * shares[1])
    cancelled = int((total - completed - failed) * shares[2])
    found = row(BATCH, total_jobs=total, completed_jobs=completed, failed_jobs=failed, cancelled_jobs=cancelled)
    computed = status.compute(BATCH, Facts(row=found), NOW)
    parts = ("completedJobs", "failedJobs", "cancelledJobs", "pendingJobs")
    assert sum(computed[key] for key in parts) == computed["totalJobs"] == total
    assert (computed["progress"] == "100%") == (computed["pendingJobs"] == 0)
    assert computed.get("successRate") != "100%" or failed == 0


def test_a_batch_that_had_finished_before_the_object_was_created_is_not_said_to_be_enqueued() -> None:
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ENDED)
    after = status.compute(BATCH, Facts(row=done), NOW)
    assert [note.reason for note in status.notes({"observedGeneration": -1}, after)] == ["Completed"]


def test_each_part_of_the_story_is_told_once() -> None:
    story: list[str] = []
    before: dict[str, Any] = {"observedGeneration": -1}
    done = row(BATCH, BatchState.COMPLETED, completed_jobs=2, finished_at=ENDED)
    for facts in (
        Facts(load=Load()),
        Facts(row=row(BATCH)),
        Facts(row=row(BATCH, completed_jobs=1)),
        Facts(row=row(BATCH, completed_jobs=1, suspended=True)),
        Facts(row=row(BATCH, completed_jobs=1)),
        Facts(obstacle=Obstacle(Reason.DATABASE_UNAVAILABLE, "refused", passing=True)),
        Facts(row=row(BATCH, completed_jobs=1)),
        Facts(row=done),
        Facts(row=done),
    ):
        after = status.compute(batch(status=before), facts, NOW)
        story += [note.reason for note in status.notes(before, after)]
        before = after
    assert story == ["Enqueued", "Suspended", "Resumed", "DatabaseUnavailable", "Completed"]


def test_texts_of_jobs_steer_no_terminal() -> None:
    failed = row(BATCH, BatchState.FAILED, failed_jobs=1, cancelled_jobs=1, finished_at=ENDED)
    errors = [ErrorGroup(type=f"{HOSTILE}\n", count=1, index=7, message=f"{HOSTILE}\nsecond line")]
    computed = status.compute(BATCH, Facts(row=failed, errors=errors), NOW)
    (group,) = computed["errors"]
    assert steering(group["type"], but="") == set()
    assert steering(group["message"]) == steering(computed["conditions"][0]["message"]) == set()
    assert group["message"].endswith("\nsecond line")
    assert r"\u001b[31mred" in computed["conditions"][0]["message"]
    note = Note(reason=Reason.JOB_FAILED, message=HOSTILE)
    event = event_manifest(Subject(kind="JobBatch", namespace="mail", name="welcome", uid="u"), note, NOW)
    assert steering(event["message"]) == set()
