"""Claims in the hands of a worker that has no database."""

from __future__ import annotations

import uuid

from hammerwork import PartialFailureMode, Priority, RetryPolicy
from hammerwork.backends.protocol import Claim
from hammerwork.working.claims import HeldClaim


def held(jobs: int, *, timeout_seconds: float | None = None) -> HeldClaim:
    """Return a claim of so many jobs, none of which has started."""
    return HeldClaim(
        Claim(
            id=1,
            batch_id=uuid.uuid4(),
            indexes=range(jobs),
            attempt=1,
            priority=Priority.NORMAL,
            alone=False,
            max_attempts=1,
            timeout_seconds=timeout_seconds,
            failure_mode=PartialFailureMode.CONTINUE_ON_ERROR,
            retry_policy=RetryPolicy(),
            batch_size=1_000,
            payloads=[None] * jobs,
        )
    )
