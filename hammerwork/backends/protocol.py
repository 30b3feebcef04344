"""What a database backend does for `JobQueue` and `Worker`."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import msgspec

from hammerwork.batch import PartialFailureMode, Priority, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from hammerwork.batch import Job, JobBatch, JobStatus
    from hammerwork.reports import BatchStatus, ErrorGroup, JobRecord, QueueDepth, QueueStatistics, WorkerInfo

Span = tuple[int, int]
"""A run of jobs by index: first and last, both included."""


class Claim(msgspec.Struct, kw_only=True):
    """A run of jobs that a worker holds, with what it has to know of their batch."""

    id: int
    batch_id: UUID
    lo: int
    hi: int
    attempt: int
    priority: Priority
    alone: bool
    """Suspected of killing its worker: to be run while nothing else is."""
    max_attempts: int
    timeout_seconds: float | None
    failure_mode: PartialFailureMode
    retry_policy: RetryPolicy
    batch_size: int
    payloads: list[Any]
    """Decoded payloads of the jobs lo..hi."""


class Failure(msgspec.Struct, kw_only=True):
    """An attempt that failed, as it is recorded."""

    idx: int
    attempt: int
    final: bool
    error_type: str
    message: str
    traceback: str | None


class Settlement(msgspec.Struct, kw_only=True):
    """Outcomes of a claim since the last report. With `remaining` None, nothing is left and the claim ends."""

    claim_id: int
    open: int
    """Jobs of the claim that had no outcome before this report; makes a repeated report harmless."""
    completed: int = 0
    failed: int = 0
    """Jobs that failed for good."""
    failures: list[Failure] = []
    """What is to be recorded; may include attempts that are retried."""
    retries: list[tuple[int, int, float]] = []
    """Spans to be tried again, each with the delay in seconds."""
    released: list[Span] = []
    """Spans that were not started and go back."""
    remaining: list[Span] | None = None


class Settled(enum.Enum):
    """The queue's answer to a settlement."""

    OK = "ok"
    STOPPED = "stopped"
    """Counted; and no further job of this batch may start."""
    LOST = "lost"
    """The claim is not this worker's any more; nothing was counted."""


class Exchange(msgspec.Struct, kw_only=True):
    """The answer to one round trip of a worker."""

    settled: Settled | None = None
    claim: Claim | None = None
    busy: bool = False
    """No claim, but only since others are taking some at this moment: ask again at once."""


class WorkerRecord(msgspec.Struct, kw_only=True):
    """What a worker tells of itself with each heartbeat."""

    id: UUID
    queue: str
    pool: str
    instance: str
    lanes: int
    processed: int = 0
    failed: int = 0
    busy_ms: int = 0


class Backend(Protocol):
    """One database. `JobQueue` documents the operations that it passes on."""

    async def close(self) -> None: ...
    async def ping(self) -> None: ...
    async def migrate(self) -> None: ...

    async def enqueue(self, batch: JobBatch, jobs: Sequence[Job], *, batch_id: UUID, fingerprint: str | None) -> UUID:
        """Store a valid batch."""
        ...

    async def enqueue_stream(
        self,
        batch: JobBatch,
        jobs: Iterable[Job] | AsyncIterable[Job],
        *,
        batch_id: UUID,
        fingerprint: str | None,
        progress: Callable[[int], Awaitable[None]] | None,
    ) -> UUID: ...

    async def batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]: ...
    async def batch_jobs(
        self, batch_id: UUID, *, status: JobStatus | None, after: int, limit: int
    ) -> list[JobRecord]: ...
    async def batch_errors(self, batch_id: UUID, *, limit: int) -> list[ErrorGroup]: ...
    async def cancel_batch(self, batch_id: UUID) -> None: ...
    async def set_suspended(self, batch_id: UUID, *, suspended: bool) -> None: ...
    async def delete_batch(self, batch_id: UUID) -> bool: ...
    async def list_batches(
        self, *, queue: str | None, metadata: dict[str, str], before: tuple[datetime, UUID] | None, limit: int
    ) -> list[UUID]: ...
    async def retry_failed(self, batch_id: UUID) -> int: ...
    async def pause_queue(self, queue: str, *, paused: bool) -> None: ...
    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics: ...
    async def workers(self, queue: str | None) -> list[WorkerInfo]: ...
    async def queue_depths(self) -> dict[str, QueueDepth]: ...

    async def exchange(self, worker_id: UUID, queue: str, settlement: Settlement | None, limit: int) -> Exchange:
        """Settle, then claim up to `limit` jobs (0: none), in one round trip."""
        ...

    async def heartbeat(self, worker: WorkerRecord) -> None:
        """Register the worker, or show that it lives."""
        ...

    async def retire(self, worker_id: UUID, *, instance: str = "") -> None:
        """Forget a worker that has ended; with `instance`, forget all others that ran there and free what they hold."""
        ...

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        """Return those of these batches of which no further job may start."""
        ...

    async def tick(self, queue: str) -> None:
        """Make due retries claimable, and end stopped batches that nobody works on."""
        ...

    async def reap(self, lease_seconds: float) -> int:
        """Free the claims of all workers not heard of for this long; return the number of jobs."""
        ...

    async def listen(self, wake: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        """Call `wake` with a queue's name when jobs of it become ready; return what ends the listening.

        Raises `DatabaseUnavailableError` where the connection cannot listen; polling goes on then.
        """
        ...
