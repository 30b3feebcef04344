"""Hammerwork: big batches of jobs from the database you already have."""

from hammerwork.batch import (
    BatchState,
    Job,
    JobBatch,
    JobStatus,
    PartialFailureMode,
    Priority,
    RetryPolicy,
    RetryStrategy,
)
from hammerwork.errors import (
    AttemptFailedError,
    BatchConflictError,
    BatchNotFoundError,
    DatabaseError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    HammerworkError,
    HandlerError,
    IncompatibleDatabaseError,
    InvalidBatchError,
    JobFailedError,
    JobTimeoutError,
    UnsupportedDatabaseError,
)
from hammerwork.handlers import batch_handler
from hammerwork.queue import JobQueue
from hammerwork.reports import (
    BatchStatus,
    ErrorGroup,
    JobError,
    JobRecord,
    QueueActivity,
    QueueDepth,
    QueueStatistics,
    WorkerInfo,
    WorkerStats,
)
from hammerwork.working.pool import WorkerPool
from hammerwork.working.worker import Worker

__all__ = [
    "AttemptFailedError",
    "BatchConflictError",
    "BatchNotFoundError",
    "BatchState",
    "BatchStatus",
    "DatabaseError",
    "DatabaseRefusedError",
    "DatabaseUnavailableError",
    "ErrorGroup",
    "HammerworkError",
    "HandlerError",
    "IncompatibleDatabaseError",
    "InvalidBatchError",
    "Job",
    "JobBatch",
    "JobError",
    "JobFailedError",
    "JobQueue",
    "JobRecord",
    "JobStatus",
    "JobTimeoutError",
    "PartialFailureMode",
    "Priority",
    "QueueActivity",
    "QueueDepth",
    "QueueStatistics",
    "RetryPolicy",
    "RetryStrategy",
    "UnsupportedDatabaseError",
    "Worker",
    "WorkerInfo",
    "WorkerPool",
    "WorkerStats",
    "batch_handler",
]
