"""Hammerwork: big batches of jobs from the database you already have."""

from hammerwork.batch import (
    BatchState,
    BatchStatus,
    ErrorGroup,
    Job,
    JobBatch,
    JobError,
    JobRecord,
    JobStatus,
    PartialFailureMode,
    Priority,
    QueueDepth,
    RetryPolicy,
    RetryStrategy,
)
from hammerwork.errors import (
    BatchConflictError,
    BatchNotFoundError,
    DatabaseUnavailableError,
    HammerworkError,
    HandlerError,
    InvalidBatchError,
    JobFailedError,
    JobTimeoutError,
    UnsupportedDatabaseError,
)
from hammerwork.queue import JobQueue
from hammerwork.worker import Worker, WorkerPool, WorkerStats

__all__ = [
    "BatchConflictError",
    "BatchNotFoundError",
    "BatchState",
    "BatchStatus",
    "DatabaseUnavailableError",
    "ErrorGroup",
    "HammerworkError",
    "HandlerError",
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
    "QueueDepth",
    "RetryPolicy",
    "RetryStrategy",
    "UnsupportedDatabaseError",
    "Worker",
    "WorkerPool",
    "WorkerStats",
]
