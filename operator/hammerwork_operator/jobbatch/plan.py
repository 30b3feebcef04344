"""Decides the next step for a JobBatch. Pure: from the object, the facts and the clock to an action."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from hammerwork import BatchState, BatchStatus
from hammerwork_operator.api.jobbatch import DeletionPolicy
from hammerwork_operator.api.reasons import Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import moment

if TYPE_CHECKING:
    from datetime import datetime

    from hammerwork_operator.jobbatch.facts import Facts, Trouble
    from hammerwork_operator.jobbatch.observed import ObservedBatch

LOOK_AGAIN_SECONDS = 2.0
"""How soon a database that does not answer, or a Secret that is missing, is tried again."""
STALLED_SECONDS = 30.0
"""How soon a batch is looked at again whose rows are missing or belong to another one."""
NO_SECRET_DELETION_SECONDS = 20.0
NO_DATABASE_DELETION_SECONDS = 120.0
"""How long a deletion waits for the database before the rows are left behind."""


class Step(enum.Enum):
    """What to do."""

    WAIT = "Wait"
    ADD_FINALIZER = "AddFinalizer"
    LOAD = "Load"
    SUSPEND = "Suspend"
    RESUME = "Resume"
    CANCEL = "Cancel"
    """Cancel what has not started, because the deadline has passed."""
    DELETE_OBJECT = "DeleteObject"
    """The time to live is over."""
    REMOVE_ROWS = "RemoveRows"
    """Delete the batch from the database, then release the object."""
    CANCEL_ROWS = "CancelRows"
    """Cancel the batch in the database, then release the object."""
    RELEASE = "Release"
    """Take our finalizer off."""
    FORGET = "Forget"
    """Nothing to do until the object changes."""


class Plan(msgspec.Struct, frozen=True):
    """One step. `after`: look again in so many seconds, even if nothing changes."""

    step: Step
    after: float | None = None
    orphaned: str | None = None
    """With RELEASE: why the rows are left in the database against the deletion policy."""


def is_finished(observed: ObservedBatch) -> bool:
    """Return whether the object's status already tells the end of this very batch."""
    status = observed.status
    if status.get("batchId") != str(observed.batch_id) or not status.get("completionTime"):
        return False
    stated = status.get("conditions")
    return conditions.holds(stated, Type.COMPLETE) or conditions.holds(stated, Type.FAILED)


def was_enqueued(observed: ObservedBatch) -> bool:
    """Return whether the object's status says that this very batch was loaded."""
    return observed.status.get("batchId") == str(observed.batch_id) and conditions.holds(
        observed.status.get("conditions"), Type.ENQUEUED
    )


def decide(observed: ObservedBatch, facts: Facts, now: datetime) -> Plan:
    """Return the next step. Taking it and deciding again ends in WAIT or FORGET."""
    if observed.deleted_at is not None:
        return _deletion(observed, facts.trouble, observed.deleted_at, now)
    if is_finished(observed):
        return _after_the_end(observed, now)
    if observed.problem is not None:
        return Plan(Step.FORGET)
    return _alive(observed, facts, now)


def _alive(observed: ObservedBatch, facts: Facts, now: datetime) -> Plan:
    if not observed.has_finalizer:
        return Plan(Step.ADD_FINALIZER)
    if facts.trouble is not None:
        return Plan(Step.WAIT, LOOK_AGAIN_SECONDS)
    row = facts.row
    if row is not None and row.fingerprint != observed.digest:
        return Plan(Step.WAIT, STALLED_SECONDS)
    if row is not None and row.finished:
        return Plan(Step.FORGET)
    if row is None or row.state is BatchState.LOADING:
        return _loading(observed, facts)
    return _running(observed, row, now)


def _loading(observed: ObservedBatch, facts: Facts) -> Plan:
    if facts.load is not None and facts.load.running:
        return Plan(Step.WAIT, 1.0)
    if facts.load is not None and facts.load.failure is not None:
        return Plan(Step.FORGET)
    if facts.row is None and was_enqueued(observed):
        # Somebody removed the rows, or the Secret leads to another database by mistake. To run everything again must be
        # asked for; if the rows come back, the batch goes on.
        return Plan(Step.WAIT, STALLED_SECONDS)
    return Plan(Step.LOAD)


def _running(observed: ObservedBatch, row: BatchStatus, now: datetime) -> Plan:
    left = deadline_left(observed, row.created_at, now)
    if left is not None and left <= 0 and row.state in {BatchState.PENDING, BatchState.RUNNING}:
        return Plan(Step.CANCEL)
    if row.suspended != observed.spec.suspend and row.state in {BatchState.PENDING, BatchState.RUNNING}:
        return Plan(Step.SUSPEND if observed.spec.suspend else Step.RESUME)
    return Plan(Step.WAIT, left if left is not None and left > 0 else None)


def deadline_left(observed: ObservedBatch, started: datetime, now: datetime) -> float | None:
    """Return the seconds until the deadline, negative once it has passed; None without a deadline."""
    if observed.spec.active_deadline_seconds is UNSET:
        return None
    return (started + timedelta(seconds=observed.spec.active_deadline_seconds) - now).total_seconds()


def _time_to_live_ends(observed: ObservedBatch) -> datetime | None:
    ended = observed.status.get("completionTime")
    if observed.spec.ttl_seconds_after_finished is UNSET or not ended:
        return None
    return moment(ended) + timedelta(seconds=observed.spec.ttl_seconds_after_finished)


def _after_the_end(observed: ObservedBatch, now: datetime) -> Plan:
    ends = _time_to_live_ends(observed)
    if ends is None:
        return Plan(Step.FORGET)
    left = (ends - now).total_seconds()
    return Plan(Step.DELETE_OBJECT) if left <= 0 else Plan(Step.WAIT, left)


def _deletion(observed: ObservedBatch, trouble: Trouble | None, deleted_at: datetime, now: datetime) -> Plan:
    if not observed.has_finalizer:
        return Plan(Step.FORGET)
    ends = _time_to_live_ends(observed) if is_finished(observed) else None
    expired = ends is not None and deleted_at >= ends
    if expired or observed.spec.deletion_policy is DeletionPolicy.ORPHAN or observed.problem is not None:
        return Plan(Step.RELEASE)
    if trouble is not None:
        limit = NO_DATABASE_DELETION_SECONDS if trouble.passing else NO_SECRET_DELETION_SECONDS
        left = limit - (now - deleted_at).total_seconds()
        if left <= 0:
            return Plan(Step.RELEASE, orphaned=trouble.message)
        return Plan(Step.WAIT, min(left, LOOK_AGAIN_SECONDS))
    cancels = observed.spec.deletion_policy is DeletionPolicy.CANCEL
    return Plan(Step.CANCEL_ROWS if cancels else Step.REMOVE_ROWS)
