"""What a JobBatch's `spec.retry` asks for, and whether a finished batch is as its status says. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from hammerwork import BatchState
from hammerwork.reports import percentage
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.kube.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hammerwork import BatchStatus
    from hammerwork_operator.jobbatch.observed import ObservedBatch


def wanted_attempt(observed: ObservedBatch) -> int:
    """Return the number of the last retry that the spec asks for."""
    return observed.spec.retry.attempt if observed.spec.retry is not UNSET else 0


def is_asked(observed: ObservedBatch) -> bool:
    """Return whether the spec asks for a retry that the status does not tell of. What was never loaded has none."""
    return observed.stated.enqueued and wanted_attempt(observed) > observed.stated.retry_attempt


def is_due(observed: ObservedBatch, row: BatchStatus) -> bool:
    """Return whether a retry is to begin. What the database remembers counts, not the status."""
    return row.finished and row.state is not BatchState.CANCELLED and wanted_attempt(observed) > row.retry_attempt


def is_refused(observed: ObservedBatch, row: BatchStatus) -> bool:
    """Return whether the spec asks for a retry that cannot be: the batch was cancelled."""
    return row.finished and row.state is BatchState.CANCELLED and wanted_attempt(observed) > row.retry_attempt


def retry_arguments(observed: ObservedBatch) -> dict[str, Any]:
    """Return what `JobQueue.retry_failed` gets beside the batch."""
    retry = observed.spec.retry
    if retry is UNSET:
        return {}
    return {
        "error_types": None if retry.error_types is UNSET else retry.error_types,
        "indexes": None if retry.indexes is UNSET else retry.indexes,
        "attempt": retry.attempt,
    }


def counts(row: BatchStatus) -> dict[str, Any]:
    """Return what a status says of the jobs of a batch, but for those of one that is being loaded."""
    found: dict[str, Any] = {
        "totalJobs": row.total_jobs,
        "pendingJobs": row.pending_jobs,
        "runningJobs": row.running_jobs,
        "completedJobs": row.completed_jobs,
        "failedJobs": row.failed_jobs,
        "cancelledJobs": row.cancelled_jobs,
        "progress": percentage(row.total_jobs - row.pending_jobs, row.total_jobs),
    }
    if ran := row.completed_jobs + row.failed_jobs:
        found["successRate"] = percentage(row.completed_jobs, ran, digits=1)
    if row.retry_attempt:
        found["retryAttempt"] = row.retry_attempt
    return found


def differs(observed: ObservedBatch, row: BatchStatus) -> bool:
    """Return whether the batch of a finished object is not, or not any more, as its status says.

    So it is when somebody has retried it, the database has gone back to an older state, or the status was edited.
    """
    if row.finished_at is None or row.fingerprint != observed.fingerprint:
        return row.fingerprint == observed.fingerprint
    said = {"retryAttempt": None, **counts(row), "completionTime": timestamp(row.finished_at)}
    return any(observed.status.get(key) != value for key, value in said.items())


def changed_end(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Note]:
    """Return the events for a batch that runs again, or that is not as far as it was."""
    if before.get("batchId") != after.get("batchId"):
        return []
    had_ended, has_ended = _ended(before), _ended(after)
    if before.get("completedJobs", 0) > after.get("completedJobs", 0) or _loads_again(before, after):
        return [_rolled_back(before, after)]
    if had_ended and not has_ended:
        retried = any(entry["reason"] == Reason.RETRYING for entry in after["conditions"])
        note = Note(reason=Reason.RETRYING, message="failed jobs run again")
        return [note if retried else _rolled_back(before, after)]
    if had_ended and has_ended:
        attempt = after.get("retryAttempt", 0)
        if before["completionTime"] != after["completionTime"]:
            return [Note(reason=Reason.RETRYING, message="failed jobs have run again")]
        if before.get("retryAttempt", 0) < attempt:
            message = f"spec.retry.attempt {attempt} means no failed job"
            return [Note(reason=Reason.NOTHING_TO_RETRY, message=message)]
    return []


def _ended(status: Mapping[str, Any]) -> bool:
    stated = status.get("conditions")
    return "completionTime" in status and any(conditions.holds(stated, kind) for kind in (Type.COMPLETE, Type.FAILED))


def _loads_again(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    entry = conditions.find(after.get("conditions"), Type.ENQUEUED)
    was = conditions.holds(before.get("conditions"), Type.ENQUEUED)
    return was and entry is not None and entry["reason"] == Reason.LOADING


def _rolled_back(before: Mapping[str, Any], after: Mapping[str, Any]) -> Note:
    then, now = before.get("completedJobs", 0), after.get("completedJobs", 0)
    message = (
        "the database is in an older state than the status, as after a failover or a restored backup: "
        f"{then:,} jobs had completed, {now:,} have"
    )
    return Note(reason=Reason.DATABASE_ROLLED_BACK, message=message, warning=True)
