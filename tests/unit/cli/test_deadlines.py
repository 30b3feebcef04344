from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from hammerwork import BatchState, BatchStatus, PartialFailureMode
from hammerwork_cli.running.deadlines import Deadlines

ID = uuid.uuid4()
CREATED = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
START = CREATED.timestamp()


def status(**fields: Any) -> BatchStatus:
    values: dict[str, Any] = {
        "batch_id": ID,
        "name": "mail/welcome",
        "queue": "email",
        "state": BatchState.RUNNING,
        "suspended": False,
        "failure_mode": PartialFailureMode.CONTINUE_ON_ERROR,
        "total_jobs": 2,
        "pending_jobs": 2,
        "running_jobs": 0,
        "completed_jobs": 0,
        "failed_jobs": 0,
        "cancelled_jobs": 0,
        "metadata": {},
        "fingerprint": None,
        "created_at": CREATED,
        "started_at": None,
        "finished_at": None,
    }
    return BatchStatus(**{**values, **fields})


def test_the_deadline_counts_from_the_first_row() -> None:
    deadlines = Deadlines({ID: 60})
    assert deadlines.passed([status()], START + 60) == []
    assert deadlines.passed([status()], START + 61) == [ID]


def test_a_suspended_batch_has_no_deadline_and_begins_anew_when_it_is_resumed() -> None:
    deadlines = Deadlines({ID: 60})
    assert deadlines.passed([status(suspended=True)], START + 50) == []
    assert deadlines.passed([status(suspended=True)], START + 500) == []
    assert deadlines.passed([status()], START + 560) == []
    assert deadlines.passed([status()], START + 561) == [ID]


def test_what_has_finished_or_has_no_deadline_is_left_alone() -> None:
    assert Deadlines({ID: 60}).passed([status(finished_at=CREATED)], START + 99) == []
    assert Deadlines({}).passed([status()], START + 99) == []
