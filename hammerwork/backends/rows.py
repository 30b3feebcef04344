"""Rows of the database as values, the same for every backend. Ids are UUIDs here and times are aware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.listing import STOPPED
from hammerwork.backends.protocol import Claim
from hammerwork.batch import BatchState, PartialFailureMode, Priority, RetryPolicy
from hammerwork.errors import BatchConflictError, BatchNotFoundError
from hammerwork.reports import BatchStatus, JobError, QueueActivity, QueueDepth, QueueStatistics, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    Row = Mapping[str, Any]


def batch_status(row: Row) -> BatchStatus:
    """Return the status of a batch from its row with the sums over its open chunks."""
    state = BatchState(row["state"])
    done = row["completed"] + row["failed"]
    running = row["running"]
    # Of a stopped batch, what is not in a worker's hands will not run any more.
    cancelled = row["total"] - done - running if state in STOPPED else 0
    if state is BatchState.PENDING and (done or running or row["started_at"] is not None):
        state = BatchState.RUNNING
    return BatchStatus(
        batch_id=row["id"],
        name=row["name"],
        queue=row["queue"],
        state=state,
        suspended=bool(row["suspended"]),
        failure_mode=PartialFailureMode(row["failure_mode"]),
        total_jobs=row["total"],
        pending_jobs=row["total"] - done - cancelled,
        running_jobs=running,
        completed_jobs=row["completed"],
        failed_jobs=row["failed"],
        cancelled_jobs=cancelled,
        metadata=msgspec.json.decode(row["metadata"]),
        fingerprint=row["fingerprint"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        retry_attempt=row["retry_attempt"],
        retried_at=row["retried_at"],
    )


def stored_states(state: BatchState | None) -> tuple[list[str] | None, bool | None]:
    """Return what the rows of batches in a state (None: any) have, as `batch_status` tells it.

    Returns:
        The states of their rows, and whether their jobs have begun to run; None: either way.
    """
    if state is None:
        return None, None
    if state in {BatchState.PENDING, BatchState.RUNNING}:
        return [BatchState.PENDING.value, "Retrying"], state is BatchState.RUNNING
    return [state.value], None


def job_error(row: Row, *, attempt: int) -> JobError:
    """Return a recorded failure."""
    return JobError(
        index=row["idx"],
        attempt=attempt,
        type=row["error_type"],
        message=row["message"],
        traceback=row["traceback"],
        failed_at=row["failed_at"],
    )


def claim(row: Row, payloads: list[Any]) -> Claim:
    """Return a claim from the answer to a request for one."""
    indexes: range | list[int] = range(row["lo"], row["hi"] + 1)
    if row["spans"] is not None:
        indexes = [index for lo, hi in msgspec.json.decode(row["spans"]) for index in range(lo, hi + 1)]
    return Claim(
        id=row["claim_id"],
        batch_id=row["batch_id"],
        indexes=indexes,
        attempt=row["attempt"],
        priority=Priority(row["priority"]),
        alone=bool(row["alone"]),
        max_attempts=row["max_attempts"],
        timeout_seconds=row["timeout_seconds"],
        failure_mode=PartialFailureMode(row["failure_mode"]),
        retry_policy=msgspec.json.decode(row["retry_policy"], type=RetryPolicy),
        batch_size=row["batch_size"],
        payloads=payloads,
    )


def payloads(text: str | bytes) -> list[Any]:
    """Return the payloads in a JSON array; none if it is damaged: they count as missing then."""
    try:
        return msgspec.json.decode(text, type=list[Any])
    except msgspec.DecodeError:
        return []


def not_retryable(batch_id: UUID, status: BatchStatus | None) -> BatchConflictError | BatchNotFoundError:
    """Return the error for a batch whose failed jobs cannot be run again; without a status it has been deleted."""
    if status is None:
        return BatchNotFoundError(batch_id)
    return BatchConflictError(
        f"batch {status.name!r} ({status.batch_id}): it is {status.state.value}; failed jobs can be retried once "
        "the batch has finished, unless it was cancelled"
    )


def queue_depth(row: Row) -> QueueDepth:
    """Return the backlog of a queue from its row."""
    return QueueDepth(**{**row, "paused": bool(row["paused"])})


def queue_activity(row: Row) -> QueueActivity:
    """Return what the workers of a queue did, from the sums of its minutes."""
    processed = row["processed"]
    return QueueActivity(
        queue=row["queue"],
        total_processed=processed,
        failed=row["failed"],
        average_processing_time_ms=row["busy_ms"] / processed if processed else 0.0,
    )


def queue_statistics(queue: str, window_seconds: float, row: Row, depth: QueueDepth | None) -> QueueStatistics:
    """Return what happened in a queue, from the sums of its minutes and of its batches."""
    processed = row["processed"]
    return QueueStatistics(
        queue=queue,
        window_seconds=window_seconds,
        total_processed=processed,
        failed=row["failed"],
        error_rate=row["failed"] / processed if processed else 0.0,
        throughput=processed / window_seconds,
        average_processing_time_ms=row["busy_ms"] / processed if processed else 0.0,
        batches=row["batches"],
        average_batch_size=row["average_batch_size"],
        depth=depth or QueueDepth.none(queue),
    )


def worker_info(row: Row) -> WorkerInfo:
    """Return a worker from its row."""
    return WorkerInfo(
        id=row["id"],
        queue=row["queue"],
        pool=row["pool"],
        instance=row["instance"],
        lanes=row["lanes"],
        jobs_held=row["held"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        jobs_processed=row["processed"],
        jobs_completed=row["processed"] - row["failed"],
        jobs_failed=row["failed"],
        average_processing_time_ms=row["busy_ms"] / row["processed"] if row["processed"] else 0.0,
    )
