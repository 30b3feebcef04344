"""What a run came to: as values, and as the exit code."""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from hammerwork.batch import BatchState
from hammerwork.reports import BatchStatus, ErrorGroup
from hammerwork_cli.output.console import EXIT_COMPLETED, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED


class Ending(enum.Enum):
    """Why a run came to its end."""

    FINISHED = "Finished"
    TIMED_OUT = "TimedOut"
    INTERRUPTED = "Interrupted"
    TERMINATED = "Terminated"


class BatchReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one batch."""

    name: str
    queue: str
    batch_id: UUID
    state: BatchState
    suspended: bool = False
    """Whether no more of its jobs start."""
    total_jobs: int
    pending_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    success_rate: float
    """From 0 to 1."""
    duration_seconds: float | None
    """From enqueueing to the end; None for a batch that has none."""
    jobs_per_second: float | None
    errors: list[ErrorGroup]
    metadata: dict[str, str]
    deadline_exceeded: bool = False
    """Whether it was cancelled because of spec.activeDeadlineSeconds."""
    dependency_failed: bool = False
    """Whether it never began, because a batch of spec.dependsOn has failed."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of everything that was run."""

    ending: Ending
    duration_seconds: float
    batches: list[BatchReport]
    skipped: list[str]

    def exit_code(self) -> int:
        """Return 0 when every batch completed without a failed job, else what tells why not."""
        if self.ending is Ending.INTERRUPTED:
            return EXIT_INTERRUPTED
        if self.ending is Ending.TERMINATED:
            return EXIT_TERMINATED
        complete = all(batch.state is BatchState.COMPLETED for batch in self.batches)
        return EXIT_COMPLETED if complete and self.ending is Ending.FINISHED else EXIT_FAILED


def report_batch(status: BatchStatus, errors: list[ErrorGroup], *, deadline_exceeded: bool = False) -> BatchReport:
    """Return the report on a batch that stands as `status` tells."""
    duration = (status.finished_at - status.created_at).total_seconds() if status.finished_at else None
    done = status.completed_jobs + status.failed_jobs
    return BatchReport(
        name=status.name,
        queue=status.queue,
        batch_id=status.batch_id,
        state=status.state,
        suspended=status.suspended,
        total_jobs=status.total_jobs,
        pending_jobs=status.pending_jobs,
        completed_jobs=status.completed_jobs,
        failed_jobs=status.failed_jobs,
        cancelled_jobs=status.cancelled_jobs,
        success_rate=status.success_rate(),
        duration_seconds=duration,
        jobs_per_second=done / duration if duration else None,
        errors=errors,
        metadata=status.metadata,
        deadline_exceeded=deadline_exceeded,
    )


def report_unbegun(batch_id: UUID, name: str, queue: str, metadata: dict[str, str], total_jobs: int) -> BatchReport:
    """Return the report on a batch that was never stored, because one that it depends on has failed."""
    return BatchReport(
        name=name,
        queue=queue,
        batch_id=batch_id,
        state=BatchState.FAILED,
        total_jobs=total_jobs,
        pending_jobs=0,
        completed_jobs=0,
        failed_jobs=0,
        cancelled_jobs=total_jobs,
        success_rate=1.0,
        duration_seconds=None,
        jobs_per_second=None,
        errors=[],
        metadata=metadata,
        dependency_failed=True,
    )
