"""What a database backend does for `JobQueue` and `Worker`."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from uuid import UUID

import msgspec

from hammerwork.batch import PartialFailureMode, Priority, RetryPolicy
from hammerwork.errors import IncompatibleDatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from hammerwork.batch import BatchState, Job, JobBatch, JobStatus
    from hammerwork.reports import (
        BatchStatus,
        ErrorGroup,
        JobRecord,
        QueueActivity,
        QueueDepth,
        QueueStatistics,
        WorkerInfo,
    )
    from hammerwork.selection import Selection

Span = tuple[int, int]
"""A run of jobs by index: first and last, both included."""

QueryRows = AsyncGenerator[dict[str, Any], None]

MAX_CLAIMS = 100
"""In one exchange."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of database can do and another one cannot. Ask this, not which database it is."""

    notifies: bool
    """It tells clients when jobs become ready. A single lifeline may not hear it even so: see `Lifeline.notified`."""
    functions: bool
    """The queue's functions are in the database, where processes of several versions call them; a migration replaces
    them. Else each process brings its own statements."""


class Claim(msgspec.Struct, kw_only=True):
    """Jobs that a worker holds, with what it has to know of their batch."""

    id: int
    batch_id: UUID
    indexes: range | list[int]
    """The jobs, in ascending order."""
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
    """Decoded payloads of the jobs, one for each index; another number when the batch is damaged."""


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

    claim: int
    """Its id."""
    open: int
    """Jobs of the claim that had no outcome before this report; makes a repeated report harmless."""
    completed: int = 0
    failed: int = 0
    """Jobs that failed for good."""
    failures: list[Failure] | None = None
    """What is to be recorded; may include attempts that are retried."""
    retries: list[Span] | None = None
    """Spans to be tried again."""
    delay: float = 0.0
    """Seconds until then."""
    released: list[Span] | None = None
    """Spans that were not started and go back."""
    remaining: list[Span] | None = None

    @property
    def makes_ready(self) -> bool:
        """Whether jobs can be claimed again with it."""
        return bool(self.released or (self.retries and self.delay <= 0))


class Settled(enum.Enum):
    """The queue's answer to a settlement."""

    OK = "ok"
    STOPPED = "stopped"
    """Counted; and no further job of this batch may start."""
    LOST = "lost"
    """The claim is not this worker's any more; nothing was counted."""


class Exchange(msgspec.Struct, kw_only=True):
    """The answer to one round trip of a worker."""

    settled: dict[int, Settled] = {}
    """The answers to the reports, by claim."""
    claims: list[Claim] = []
    busy: bool = False
    """No claim, but only since others are taking some at this moment: ask again at once."""


class WorkerRecord(msgspec.Struct, kw_only=True):
    """What a worker tells of itself with each heartbeat."""

    id: UUID
    queue: str
    pool: str
    instance: str
    lanes: int
    lease_seconds: float
    processed: int = 0
    failed: int = 0
    busy_ms: int = 0


class Heard(msgspec.Struct, kw_only=True):
    """The queue's answer to a heartbeat."""

    unknown: set[int] = set()
    """Claims that the worker holds and the queue knows nothing of (any more)."""
    undelivered: bool = False
    """The queue knows claims of this worker that it does not hold; see `Lifeline.recover`."""
    ready: bool = False
    """Something of the worker's queue can be claimed."""
    upkeep_idle: float = 0.0
    """Seconds since somebody did the upkeep."""
    outdated: IncompatibleDatabaseError | None = None
    """Only newer versions may work on the database any more."""


class Upkeep(msgspec.Struct, kw_only=True):
    """What was done for the queues of a database."""

    turn: bool
    """Whether it was the caller's turn."""
    released: int = 0
    """Jobs of lost workers that went back to their queues."""


class Lifeline(Protocol):
    """A connection of its own for the heartbeats of one worker, its notifications and the upkeep."""

    notified: bool
    """Whether notifications arrive on this connection."""

    async def heartbeat(self, worker: WorkerRecord, known: WorkerRecord | None, held: Sequence[int]) -> Heard:
        """Register the worker, or show that it lives.

        Args:
            worker: What it has done so far.
            known: The same at its last heartbeat that was answered; None before the first one.
            held: Ids of the claims that it holds.
        """
        ...

    async def recover(self, worker_id: UUID, held: Sequence[int], *, older_than: float) -> int:
        """Give back the worker's claims but those it holds, if they are older than this; return the number of jobs."""
        ...

    async def retire(self, worker_id: UUID) -> None:
        """Forget a worker that has ended and given back what it held."""
        ...

    async def replace(self, worker_id: UUID, instance: str) -> None:
        """Forget all other workers that ran at `instance`; the upkeep frees what they held."""
        ...

    async def upkeep(self, seconds: float) -> Upkeep:
        """Do the upkeep if it is due; see `Backend.upkeep`."""
        ...

    async def close(self) -> None: ...


class Backend(Protocol):
    """One database. `JobQueue` documents the operations that it passes on."""

    capabilities: ClassVar[Capabilities]

    async def close(self) -> None: ...
    async def ping(self) -> None: ...
    async def migrate(self) -> None: ...
    async def check_version(self) -> None: ...

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
        anew: bool = False,
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
        self,
        *,
        queue: str | None,
        metadata: dict[str, str],
        state: BatchState | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[UUID]: ...
    async def retry_failed(self, batch_id: UUID, chosen: Selection | None, attempt: int | None) -> int: ...
    async def pause_queue(self, queue: str, *, paused: bool) -> None: ...
    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics: ...
    async def workers(self, queue: str | None) -> list[WorkerInfo]: ...
    async def queue_depths(self) -> dict[str, QueueDepth]: ...
    async def queue_activities(self, queues: Collection[str], window_seconds: float) -> dict[str, QueueActivity]: ...

    async def exchange(
        self, worker_id: UUID, queue: str, settlements: Sequence[Settlement], limit: int, *, claims: int = MAX_CLAIMS
    ) -> Exchange:
        """Settle, then take up to `limit` jobs (0: none) in up to `claims` claims; one round trip, one transaction."""
        ...

    async def begin(self, worker_id: UUID, claim_id: int) -> bool:
        """Note that a worker begins to run a job that may kill it; False: the claim is not the worker's any more."""
        ...

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        """Return those of these batches of which no further job may start."""
        ...

    async def upkeep(self, seconds: float) -> Upkeep:
        """Do what somebody must do every `seconds`, if nobody else has done it.

        Make due retries claimable, free the claims of lost workers, and end what was cut off: deletions, retries,
        stopped batches that nobody works on.
        """
        ...

    async def reap(self) -> int:
        """Free the claims of lost workers; return the number of jobs."""
        ...

    async def forget_workers(self, instances: Collection[str], share: float) -> set[str]:
        """Recover the claims of the workers at these instances, processes included, and forget the workers.

        Those that were heard of within `share` of their lease stay; return where there are such.
        """
        ...

    def query(self, sql: str, *, timeout: float, alone: UUID) -> AbstractAsyncContextManager[QueryRows]:
        """Yield the rows of a query of the user's, as objects of JSON, from one snapshot; the server lets it only read.

        It has a connection of its own, which ends with the block. `alone`: not while another process queries for the
        same id.
        """
        ...

    async def lifeline(self, queue: str, wake: Callable[[], None]) -> Lifeline:
        """Open a connection outside of the pool; `wake` is called when jobs of `queue` become ready."""
        ...
