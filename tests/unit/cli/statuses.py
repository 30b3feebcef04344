"""Batches as the queue tells of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from hammerwork import BatchState, BatchStatus, PartialFailureMode

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
