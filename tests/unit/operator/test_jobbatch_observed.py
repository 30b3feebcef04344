"""What an object states itself is read once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hammerwork_operator.jobbatch.observed import Stated
from hammerwork_operator.kube.conditions import timestamp
from tests.unit.operator.builders import NOW, ago, batch

ID = str(batch().batch_id)
ENQUEUED = {"type": "Enqueued", "status": "True"}
COMPLETE = {"type": "Complete", "status": "True"}
FAILED = {"type": "Failed", "status": "True"}
SUSPENDED = {"type": "Suspended", "status": "True", "lastTransitionTime": timestamp(ago(7))}
END = timestamp(ago(5))


@pytest.mark.parametrize(
    ("status", "stated"),
    [
        ({}, Stated()),
        ({"batchId": ID}, Stated()),
        ({"batchId": ID, "conditions": [ENQUEUED]}, Stated(enqueued=True)),
        ({"batchId": ID, "conditions": [{**ENQUEUED, "status": "False"}]}, Stated()),
        ({"batchId": "another", "conditions": [ENQUEUED, COMPLETE], "completionTime": END}, Stated()),
        ({"batchId": ID, "startTime": timestamp(ago(9))}, Stated(started_at=ago(9))),
        ({"batchId": ID, "conditions": [COMPLETE], "completionTime": END}, Stated(finished=True, completed_at=ago(5))),
        ({"batchId": ID, "conditions": [FAILED], "completionTime": END}, Stated(finished=True, completed_at=ago(5))),
        ({"batchId": ID, "conditions": [FAILED]}, Stated()),
        ({"batchId": ID, "conditions": [COMPLETE], "completionTime": "9999-12-31T23:59:59Z"}, Stated()),
        ({"batchId": ID, "conditions": [COMPLETE], "completionTime": "0000-01-01T00:00:00Z"}, Stated()),
        ({"batchId": ID, "conditions": [SUSPENDED]}, Stated(suspended=True)),
        ({"batchId": ID, "conditions": [{**SUSPENDED, "status": "False"}]}, Stated(resumed_at=ago(7))),
        ({"batchId": ID, "conditions": [], "completionTime": END}, Stated(completed_at=ago(5))),
    ],
    ids=str,
)
def test_a_status_speaks_of_its_own_batch_only(status: dict[str, Any], stated: Stated) -> None:
    assert batch(status=status).stated == stated


def test_what_was_written_is_stated_at_once() -> None:
    seen = batch()
    written = seen.with_status({"batchId": ID, "conditions": [ENQUEUED]}, "8")
    assert (seen.stated.enqueued, written.stated.enqueued, written.resource_version) == (False, True, "8")


@pytest.mark.parametrize(("seconds", "ended", "ends"), [(None, True, None), (60, False, None), (60, True, 55)])
def test_the_time_to_live_counts_from_the_end(seconds: int | None, ended: bool, ends: int | None) -> None:
    spec = {} if seconds is None else {"ttlSecondsAfterFinished": seconds}
    status = {"batchId": ID, "conditions": [COMPLETE], "completionTime": END} if ended else {}
    expected = None if ends is None else NOW + timedelta(seconds=ends)
    assert batch(spec, status).time_to_live_ends == expected


def test_the_time_to_live_of_an_object_that_came_after_the_end_counts_from_its_creation() -> None:
    status = {"batchId": ID, "conditions": [COMPLETE], "completionTime": END}
    spec = {"ttlSecondsAfterFinished": 60}
    for created, ends in ((ago(100), 55), (ago(2), 58)):
        again = batch(spec, status, creationTimestamp=timestamp(created))
        assert again.time_to_live_ends == NOW + timedelta(seconds=ends)
