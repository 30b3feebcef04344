"""What the queue tells: of a batch, of its jobs and failures, of a queue and its workers. Values only.

Where they are encoded, as in the command line's JSON, fields have camelCase names, as the objects in Kubernetes have.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec

from hammerwork.batch import BatchState, JobStatus, PartialFailureMode, Priority


def percentage(part: int, whole: int, *, digits: int = 0) -> str:
    """Return e.g. ``45%``, rounded down, so that only the whole is 100%; of nothing, ``0%``."""
    if whole and part >= whole:
        return "100%"
    scaled = part * 100 * 10**digits // whole if whole else 0
    return f"{scaled // 10**digits}%" if digits == 0 else f"{scaled // 10**digits}.{scaled % 10**digits:0{digits}d}%"


class BatchStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A batch at one instant. total = completed + failed + cancelled + pending, always."""

    batch_id: UUID
    name: str
    queue: str
    state: BatchState
    suspended: bool
    failure_mode: PartialFailureMode
    total_jobs: int
    """While the batch is loading: the jobs loaded so far."""
    pending_jobs: int
    """Not finished yet: waiting, scheduled for another attempt, or running."""
    running_jobs: int
    """Those of the pending ones that a worker has taken."""
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    metadata: dict[str, str]
    fingerprint: str | None
    """What the enqueuer said of the batch's content, to tell a repeated enqueue from a conflict."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    """Set when nothing of the batch can run any more."""
    retry_attempt: int = 0
    """The highest number that a retry was asked for with; see `JobQueue.retry_failed`."""
    retried_at: datetime | None = None
    """When failed jobs began to run again, by the last retry that had any."""

    @property
    def finished(self) -> bool:
        """Whether nothing of the batch is pending and nothing will be."""
        return self.finished_at is not None

    def success_rate(self) -> float:
        """Completed ÷ (completed + failed), from 0 to 1; 1 while nothing has finished."""
        finished = self.completed_jobs + self.failed_jobs
        return self.completed_jobs / finished if finished else 1.0

    def progress(self) -> float:
        """Finished jobs (completed, failed or cancelled) ÷ total, from 0 to 1."""
        return (self.total_jobs - self.pending_jobs) / self.total_jobs if self.total_jobs else 0.0


class JobError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The failure of one attempt of a job."""

    index: int
    attempt: int
    type: str
    """Name of the exception's class, e.g. ``ValueError``."""
    message: str
    traceback: str | None
    failed_at: datetime


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All recorded failures of a batch that have the same type, with the first one as a sample."""

    type: str
    count: int
    index: int
    message: str


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job of a batch as the queue sees it now."""

    batch_id: UUID
    index: int
    queue: str
    payload: Any
    """None, too, if somebody has removed it from the database."""
    priority: Priority
    status: JobStatus
    attempts: int
    """Attempts made so far, one that is running included; completed jobs that were never retried show 1."""
    error: JobError | None
    """The last recorded failure, if there is one."""

    @property
    def id(self) -> str:
        """Unique name of the job: the batch's id and the job's index."""
        return f"{self.batch_id}/{self.index}"


class QueueDepth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The backlog of one queue at one instant, in jobs."""

    queue: str
    ready: int
    """Claimable now; the jobs of suspended batches are not."""
    scheduled: int
    running: int
    oldest_ready_seconds: float | None
    """How long the oldest claimable job has been waiting."""
    next_scheduled_seconds: float | None = None
    """When the next scheduled attempt is due, in seconds from now; below 0 if it is overdue."""
    paused: bool = False
    """Whether nothing of the queue starts until somebody resumes it. The counts are as if it were not."""

    @classmethod
    def none(cls, queue: str) -> Self:
        """Return the depth of a queue without a backlog."""
        return cls(queue=queue, ready=0, scheduled=0, running=0, oldest_ready_seconds=None)


class QueueActivity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the workers of one queue did within a window of time that ends now; they report every few seconds."""

    queue: str
    total_processed: int
    """Attempts that ended, successful or not."""
    failed: int
    """Those that failed."""
    average_processing_time_ms: float


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened in one queue within a window of time that ends now; workers report every few seconds."""

    queue: str
    window_seconds: float
    total_processed: int
    """Attempts that ended, successful or not."""
    failed: int
    """Those that failed."""
    error_rate: float
    """failed ÷ total_processed, from 0 to 1."""
    throughput: float
    """Attempts per second."""
    average_processing_time_ms: float
    batches: int
    """Batches that finished."""
    average_batch_size: float
    """Jobs per finished batch."""
    depth: QueueDepth
    """The backlog now."""


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A registered worker. A lost one is listed until some process has done the upkeep and recovered what it held."""

    id: UUID
    queue: str
    pool: str
    instance: str
    lanes: int
    jobs_held: int
    """Those that it has claimed and that have no outcome yet."""
    started_at: datetime
    heartbeat_at: datetime
    jobs_processed: int
    jobs_completed: int
    jobs_failed: int
    average_processing_time_ms: float

    @property
    def success_rate(self) -> float:
        """Completed ÷ processed, from 0 to 1; 1 while nothing has been processed."""
        return self.jobs_completed / self.jobs_processed if self.jobs_processed else 1.0


class WorkerStats(msgspec.Struct):
    """What a worker has done since it started. It counts attempts: a job that was retried counts more than once."""

    jobs_processed: int = 0
    jobs_completed: int = 0
    jobs_failed: int = 0
    """Attempts that failed, those that are retried included."""
    busy_seconds: float = 0.0
    """Time spent in the handler, added up over all lanes."""

    @property
    def average_processing_time_ms(self) -> float:
        """Mean duration of an attempt in milliseconds; 0 before the first one has ended."""
        return self.busy_seconds * 1000 / self.jobs_processed if self.jobs_processed else 0.0

    def success_rate(self) -> float:
        """Completed ÷ processed, from 0 to 1; 1 while nothing has been processed."""
        return self.jobs_completed / self.jobs_processed if self.jobs_processed else 1.0
