"""What a database backend does for `JobQueue` and `Worker`."""

from __future__ import annotations

from datetime import timedelta  # noqa: TC003 (msgspec reads annotations at run time)
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID  # noqa: TC003

import msgspec

if TYPE_CHECKING:

    from hammerwork.batch import BatchStatus, ErrorGroup, Job, JobBatch, JobRecord, JobStatus, QueueDepth, RetryPolicy
