"""Computes the status of a JobBatch and the events that a change of it deserves. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork import BatchState, BatchStatus, ErrorGroup
from hammerwork.printable import printable
from hammerwork_operator.api.jobbatch import MAX_ERROR_GROUPS, MAX_ERROR_MESSAGE_LENGTH
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.jobbatch.deadline import active_since, has_exceeded
from hammerwork_operator.jobbatch.retrying import changed_end, counts, is_asked, is_due, is_refused, wanted_attempt
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import condition, timestamp
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.situation import Obstacle, Situation, changed, ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hammerwork_operator.jobbatch.facts import Facts
    from hammerwork_operator.jobbatch.observed import ObservedBatch
    from hammerwork_operator.kube.situation import Status


SPEED = ("jobsPerSecond", "estimatedCompletionTime")


class _Situation(Situation, frozen=True, kw_only=True):
    complete: bool = False
    failed: bool = False
    enqueued: bool | None = None
    """None: as it was."""


def compute(observed: ObservedBatch, facts: Facts, now: datetime) -> Status:
    """Return the whole status of the object. Equal input gives an equal status, but for the times of transitions."""
    if observed.stated.finished and (facts.row is None or (facts.met is not None and is_due(observed, facts.row))):
        return _finished_before(observed, facts, now)
    situation = _situation(observed, facts, now)
    status: Status = {"observedGeneration": observed.generation}
    if not observed.awaits_content:
        status["batchId"] = str(observed.batch_id)
    if observed.content is not None:
        status["contentDigest"] = observed.content
    if facts.dependencies.satisfied:
        status["satisfiedDependencies"] = list(facts.dependencies.satisfied)
    status |= _counts(observed, facts)
    status |= _speed(observed, facts, situation)
    status |= _times(observed, facts, situation, now)
    status |= _errors(observed, facts)
    status["conditions"] = conditions.merge(
        observed.status.get("conditions") or (),
        _conditions(observed, facts, situation),
        generation=observed.generation,
        now=now,
    )
    return status


def _finished_before(observed: ObservedBatch, facts: Facts, now: datetime) -> Status:
    """What has finished stays as it is, even if the database is unreachable or the rows are gone.

    What is in the way of a retry is told beside the end.
    """
    known = observed.status.get("conditions") or ()
    end = conditions.find(known, Type.COMPLETE if conditions.holds(known, Type.COMPLETE) else Type.FAILED) or {}
    situation: Situation | None = None
    if is_asked(observed):
        obstacle = facts.obstacle or facts.met
        situation = _behind(observed, obstacle, now) if obstacle else Situation.behind(_no_rows_to_retry(observed))
    elif end["reason"] in {*Reason} and ((told := ready(observed.status)) is None or told["reason"] != end["reason"]):
        failed = end["type"] == Type.FAILED
        situation = Situation(ready=not failed, reason=Reason(end["reason"]), message=end["message"], stalled=failed)
    stated = [{**entry, "observedGeneration": observed.generation} for entry in known]
    if situation is not None:
        wanted = {entry["type"]: dict(entry) for entry in (*known, *situation.conditions()) if entry["type"] in {*Type}}
        stated = conditions.merge(known, wanted.values(), generation=observed.generation, now=now)
    return {**observed.status, "observedGeneration": observed.generation, "conditions": stated}


def _no_rows_to_retry(observed: ObservedBatch) -> Obstacle:
    return Obstacle(
        Reason.ROWS_MISSING,
        f"spec.retry.attempt is {wanted_attempt(observed)}, but batch {observed.batch_id} is not in the database that "
        "the Secret leads to; to run all of its jobs, delete the JobBatch and create it again",
    )


def _situation(observed: ObservedBatch, facts: Facts, now: datetime) -> _Situation:
    if observed.problem is not None:
        return _failed(observed.problem_reason, observed.problem)
    if facts.dependencies.reason is not None:
        return _dependent(facts.dependencies.reason, facts.dependencies.message)
    gets_on = facts.load is not None and (facts.load.jobs or facts.load.waits)
    obstacle = facts.obstacle or (None if gets_on else facts.met)
    if obstacle is not None:
        return _behind(observed, obstacle, now)
    row = facts.row
    if row is not None and row.fingerprint != observed.fingerprint:
        return _Situation(
            ready=False,
            reason=Reason.BATCH_CONFLICT,
            message=f"batch {row.batch_id} in the database has other jobs than spec; set another spec.runId on a new "
            "JobBatch, or remove that batch",
            stalled=True,
        )
    if row is None or row.state is BatchState.LOADING:
        return _before_running(observed, facts)
    return _after_loading(observed, row, facts.errors, now)


def _behind(observed: ObservedBatch, obstacle: Obstacle, now: datetime) -> _Situation:
    """Return the situation behind an obstacle: of a batch that was loaded, it is not known how far it is."""
    situation = _Situation.behind(obstacle)
    if not observed.stated.enqueued:
        return situation
    before = ready(observed.status)
    unknown = before is not None and before["status"] == "Unknown"
    since = before["lastTransitionTime"] if before is not None and unknown else timestamp(now)
    message = f"{obstacle.message}; the counts are the last that are known, from before {since}"
    return msgspec.structs.replace(situation, ready=None, message=message)


def _dependent(reason: Reason, message: str) -> _Situation:
    if reason is Reason.DEPENDENCY_FAILED:
        return _failed(reason, message, enqueued=False)
    cycle = reason is Reason.DEPENDENCY_CYCLE
    return _Situation(ready=False, reason=reason, message=message, reconciling=not cycle, stalled=cycle, enqueued=False)


def _before_running(observed: ObservedBatch, facts: Facts) -> _Situation:
    if facts.load is not None and facts.load.failure is not None:
        return _failed(Reason.INVALID_SOURCE, facts.load.failure, enqueued=False)
    if facts.row is None and observed.stated.enqueued:
        return _Situation(
            ready=False,
            reason=Reason.ROWS_MISSING,
            message=f"batch {observed.batch_id} was loaded, but is not in the database that the Secret leads to; "
            "if it was removed, delete the JobBatch and create it again to run its jobs again",
            stalled=True,
        )
    loaded = facts.load.jobs if facts.load is not None else 0
    if facts.row is not None:
        loaded = max(loaded, facts.row.total_jobs)
    message = f"{loaded:,}{'' if observed.total_jobs is None else f' of {observed.total_jobs:,}'} jobs loaded"
    if facts.load is not None and facts.load.waits is not None:
        message += f"; {facts.load.waits}"
    return _Situation(
        ready=False,
        reason=Reason.LOADING,
        message=message,
        reconciling=True,
        enqueued=False,
    )


def _after_loading(
    observed: ObservedBatch, row: BatchStatus, errors: Sequence[ErrorGroup] | None, now: datetime
) -> _Situation:
    done = _done(observed, row)
    if row.state is BatchState.FAILED:
        return _failed(Reason.JOB_FAILED, _sample(errors) + done, enqueued=True)
    if row.state is BatchState.CANCELLED:
        exceeded = has_exceeded(observed, row, now)
        reason = observed.stated.cancelled or (Reason.DEADLINE_EXCEEDED if exceeded else Reason.CANCELLED)
        if reason is Reason.DEADLINE_EXCEEDED:
            limit = f"{observed.spec.active_deadline_seconds} seconds" if exceeded else "the deadline that it had"
            return _failed(reason, f"not done within {limit}; {done}", enqueued=True)
        return _failed(reason, f"the batch was cancelled; {done}", enqueued=True)
    if row.finished:
        reason = Reason.COMPLETED_WITH_ERRORS if row.failed_jobs or row.cancelled_jobs else Reason.COMPLETED
        return _Situation(ready=True, reason=reason, message=done, complete=True, enqueued=True)
    if row.suspended:
        return _Situation(ready=True, reason=Reason.SUSPENDED, message=done, enqueued=True)
    return _Situation(ready=True, reason=Reason.RUNNING, message=done, enqueued=True)


def _done(observed: ObservedBatch, row: BatchStatus) -> str:
    done = f"{row.completed_jobs:,} of {row.total_jobs:,} jobs completed"
    if row.failed_jobs:
        done += f", {row.failed_jobs:,} failed"
    if row.cancelled_jobs:
        done += f", {row.cancelled_jobs:,} cancelled"
    if is_refused(observed, row):
        done += f"; spec.retry.attempt is {wanted_attempt(observed)}, but a cancelled batch cannot be retried"
    return done


def _failed(reason: Reason, message: str, *, enqueued: bool | None = None) -> _Situation:
    return _Situation(ready=False, reason=reason, message=message, stalled=True, failed=True, enqueued=enqueued)


def _sample(errors: Sequence[ErrorGroup] | None) -> str:
    if not errors:
        return ""
    return f"job {errors[0].index} failed: {errors[0].type}: {errors[0].message}"[:500] + "; "


def _conditions(observed: ObservedBatch, facts: Facts, situation: _Situation) -> list[conditions.ConditionDict]:
    reason, message = situation.reason, situation.message
    found = situation.conditions()
    previous = observed.status.get("conditions") or ()
    enqueued = situation.enqueued if situation.enqueued is not None else observed.stated.enqueued
    found.append(
        condition(
            Type.ENQUEUED,
            enqueued,
            Reason.ENQUEUED if enqueued else reason,
            f"{_total(observed, facts):,} jobs in queue {observed.spec.queue}" if enqueued else message,
        )
    )
    found += _suspended(observed, facts)
    if reason is Reason.RUNNING:
        found += _served(observed, facts)
    for kind, holds in ((Type.COMPLETE, situation.complete), (Type.FAILED, situation.failed)):
        if holds:
            found.append(condition(kind, True, reason, message))
        elif (before := conditions.find(previous, kind)) is not None:
            found.append(_undone(kind, before, facts.row, situation))
    if situation.complete or situation.failed:
        succeeded = situation.complete and reason is Reason.COMPLETED
        found.append(condition(Type.SUCCEEDED, succeeded, reason, message))
    return found


def _suspended(observed: ObservedBatch, facts: Facts) -> list[conditions.ConditionDict]:
    """Return the condition Suspended. A batch that was loaded is as it was for as long as its rows are not seen."""
    before = conditions.find(observed.status.get("conditions") or (), Type.SUSPENDED)
    if facts.row is None and observed.stated.enqueued:
        return [] if before is None else [dict(before)]
    if facts.row.suspended if facts.row is not None else observed.spec.suspend:
        return [condition(Type.SUSPENDED, True, Reason.SUSPENDED, "spec.suspend is true")]
    if before is None:
        return []
    return [condition(Type.SUSPENDED, False, Reason.RESUMED, "spec.suspend is false")]


def _served(observed: ObservedBatch, facts: Facts) -> list[conditions.ConditionDict]:
    """Return the condition Served. It is there from the first time on that nobody works on the queue."""
    queue, before = observed.spec.queue, conditions.find(observed.status.get("conditions") or (), Type.SERVED)
    if facts.served is False:
        message = (
            f"no worker of queue {queue} is registered in the database, and no WorkerPool in namespace "
            f"{observed.namespace} has workers for it; make one, or start a worker"
        )
        return [condition(Type.SERVED, False, Reason.NO_WORKER_POOL, message)]
    if before is None:
        return []
    if facts.served is None:
        return [dict(before)]
    return [condition(Type.SERVED, True, Reason.SERVED, f"queue {queue} has a worker or a WorkerPool")]


def _undone(
    kind: Type, before: Mapping[str, Any], row: BatchStatus | None, situation: _Situation
) -> conditions.ConditionDict:
    """Return the condition of an end that is not (any more)."""
    if row is not None and not row.finished and row.retried_at is not None:
        return condition(kind, False, Reason.RETRYING, "failed jobs run again")
    if row is None and before.get("status") == "False" and before["reason"] in {*Reason}:
        return condition(kind, False, Reason(before["reason"]), before["message"])
    return condition(kind, False, situation.reason, "")


def _total(observed: ObservedBatch, facts: Facts) -> int:
    if observed.total_jobs is not None:
        return observed.total_jobs
    return facts.row.total_jobs if facts.row is not None else observed.status.get("totalJobs", 0)


def _counts(observed: ObservedBatch, facts: Facts) -> Status:
    row = facts.row
    if row is None and observed.stated.enqueued:
        kept = ("totalJobs", "pendingJobs", "runningJobs", "completedJobs", "failedJobs", "cancelledJobs", "progress")
        return {key: observed.status[key] for key in (*kept, "successRate", "retryAttempt") if key in observed.status}
    if row is None or row.state is BatchState.LOADING:
        total = observed.total_jobs
        if total is None:
            return {}
        return {
            "totalJobs": total,
            "pendingJobs": total,
            "runningJobs": 0,
            "completedJobs": 0,
            "failedJobs": 0,
            "cancelledJobs": 0,
            "progress": "0%",
        }
    return counts(row)


def _speed(observed: ObservedBatch, facts: Facts, situation: _Situation) -> Status:
    if situation.reason is not Reason.RUNNING:
        return {}
    if facts.speed is None:  # as after a restart: what was said last holds until more is known
        return {key: observed.status[key] for key in SPEED if key in observed.status}
    said: Status = {"jobsPerSecond": facts.speed.jobs_per_second}
    if facts.speed.completes_at is not None:
        said["estimatedCompletionTime"] = timestamp(facts.speed.completes_at)
    return said


def _times(observed: ObservedBatch, facts: Facts, situation: _Situation, now: datetime) -> Status:
    times: Status = {}
    if facts.row is not None:
        if (since := active_since(observed, facts.row, now)) is not None:
            times["startTime"] = timestamp(since)
    elif observed.stated.started_at is not None:
        times["startTime"] = timestamp(observed.stated.started_at)
    if facts.row is not None and facts.row.finished_at is not None:
        times["completionTime"] = timestamp(facts.row.finished_at)
    elif situation.failed and facts.row is None and observed.problem is None:
        times["completionTime"] = timestamp(now)
    return times


def _errors(observed: ObservedBatch, facts: Facts) -> Status:
    if facts.errors is None:
        known = observed.stated.enqueued and "errors" in observed.status
        return {"errors": observed.status["errors"]} if known else {}
    groups = [
        {
            "type": printable(group.type)[:253],
            "count": group.count,
            "index": group.index,
            "message": printable(group.message, lines=True)[:MAX_ERROR_MESSAGE_LENGTH],
        }
        for group in facts.errors[:MAX_ERROR_GROUPS]
    ]
    return {"errors": groups} if groups else {}


def same_reason(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return whether the two statuses have the same reason, so that only counts differ."""
    reasons = {entry and entry["reason"] for entry in (ready(before), ready(after))}
    return len(reasons) == 1 and before.get("observedGeneration") == after.get("observedGeneration")


def notes(before: Mapping[str, Any], after: Mapping[str, Any], *, edited: bool = False) -> list[Note]:
    """Return the events that the change from one status to the other deserves; `edited`: others wrote the first."""
    old, new = before.get("conditions"), after.get("conditions")
    found = [_REPAIRED] if edited else changed_end(before, after)
    # A batch that has finished when the object is first looked at was enqueued for another object.
    found_finished = not old and conditions.find(new, Type.SUCCEEDED) is not None
    for kind, reason in ((Type.ENQUEUED, Reason.ENQUEUED), (Type.SUSPENDED, Reason.SUSPENDED)):
        entry = conditions.find(new, kind)
        if entry is not None and conditions.holds(new, kind) and not conditions.holds(old, kind) and not found_finished:
            found.append(Note(reason=reason, message=entry["message"]))
    if conditions.holds(old, Type.SUSPENDED) and not conditions.holds(new, Type.SUSPENDED):
        found.append(Note(reason=Reason.RESUMED, message="jobs continue"))
    if (now := changed(before, after)) is None:
        return found
    if conditions.holds(new, Type.COMPLETE):
        found.append(_note(now, warning=now["reason"] != Reason.COMPLETED))
    elif conditions.holds(new, Type.STALLED) or now["reason"] == Reason.DATABASE_UNAVAILABLE:
        found.append(_note(now, warning=True))
    return found


_REPAIRED = Note(
    reason=Reason.STATUS_EDITED,
    message="somebody else wrote the status; it is again as the database says",
    warning=True,
)
NOT_REPAIRED = Note(
    reason=Reason.STATUS_EDITED,
    message="somebody else wrote the status, and it stays so: the batch is not in the database any more",
    warning=True,
)


def _note(ready: Mapping[str, Any], *, warning: bool) -> Note:
    return Note(reason=Reason(ready["reason"]), message=ready["message"], warning=warning)
