"""Decides the next step for a JobBatch. Pure: from the object, the facts and the clock to an action."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from hammerwork import BatchState, BatchStatus
from hammerwork_operator.api.jobbatch import DeletionPolicy
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch.deadline import deadline_left
from hammerwork_operator.jobbatch.retrying import is_asked, is_due
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from datetime import datetime

    from hammerwork_operator.jobbatch.facts import Facts
    from hammerwork_operator.jobbatch.observed import ObservedBatch

LOOK_AGAIN_SECONDS = 2.0
"""How soon a database that does not answer or refuses is tried again."""
STALLED_SECONDS = 30.0
"""How soon a batch is looked at again whose rows are missing or belong to another one."""
NO_SECRET_DELETION_SECONDS = 20.0
NO_DATABASE_DELETION_SECONDS = 120.0
"""How long a deletion waits for the database before the rows are left behind."""

CONTENT_REASONS = frozenset({Reason.CONFIG_MAP_NOT_FOUND, Reason.CONFIG_MAP_KEY_NOT_FOUND, Reason.CONFIG_MAP_FORBIDDEN})
"""What is in the way of a batch whose jobs are in ConfigMaps."""

QUERY_NOT_ALLOWED = Obstacle(
    Reason.QUERY_NOT_ALLOWED,
    "this operator does not allow spec.query, which reads whatever the user of the database URL can read; whoever runs "
    "the operator allows it with the chart's value operator.allowQuerySource",
)


class Step(enum.Enum):
    """What to do."""

    WAIT = "Wait"
    ADD_FINALIZER = "AddFinalizer"
    LOAD = "Load"
    SUSPEND = "Suspend"
    RESUME = "Resume"
    CANCEL = "Cancel"
    """Cancel what has not started, because the deadline has passed."""
    RETRY = "Retry"
    """Run failed jobs of the finished batch again."""
    DELETE_OBJECT = "DeleteObject"
    """The time to live is over."""
    REMOVE_ROWS = "RemoveRows"
    """Delete the batch from the database, then release the object."""
    CANCEL_ROWS = "CancelRows"
    """Cancel the batch in the database, then release the object."""
    RELEASE = "Release"
    """Take our finalizer off."""
    REST = "Rest"
    """Nothing to do until the object changes."""


class Plan(msgspec.Struct, frozen=True):
    """One step. `after`: look again in so many seconds, even if nothing changes."""

    step: Step
    after: float | None = None
    orphaned: str | None = None
    """With RELEASE: why the rows are left in the database against the deletion policy."""


def needs_database(observed: ObservedBatch) -> bool:
    """Return whether `decide` needs to know what the database says."""
    if observed.problem is not None:
        return False
    if observed.deleted_at is not None:
        return (
            observed.has_finalizer
            and not observed.awaits_content
            and observed.spec.deletion_policy is not DeletionPolicy.ORPHAN
        )
    return is_kept(observed) and (not observed.stated.finished or is_asked(observed))


def is_kept(observed: ObservedBatch) -> bool:
    """Return whether the operator looks after the object: it can read it, holds it, and is not to let it go."""
    return observed.problem is None and observed.deleted_at is None and observed.has_finalizer


def is_loaded(observed: ObservedBatch, row: BatchStatus | None) -> bool:
    """Return whether the jobs are stored, or were; or nobody wants them any more."""
    stored = row is not None and row.state is not BatchState.LOADING
    return stored or observed.stated.enqueued or observed.deleted_at is not None


def decide(observed: ObservedBatch, facts: Facts, now: datetime) -> Plan:
    """Return the next step. Taking it and deciding again ends in WAIT or REST."""
    if observed.deleted_at is not None:
        return _deletion(observed, facts.obstacle, observed.deleted_at, now)
    if observed.stated.finished and not _lives_again(observed, facts, now):
        return _after_the_end(observed, now)
    if observed.problem is not None or facts.dependencies.reason is not None:
        return Plan(Step.REST)
    return _alive(observed, facts, now)


def _lives_again(observed: ObservedBatch, facts: Facts, now: datetime) -> bool:
    """Return whether there is more to do for a finished object than to wait for its time to live.

    A retry whose rows are gone or cannot be seen does not hold up the end of that time.
    """
    if facts.row is None:
        ends = observed.time_to_live_ends
        return is_asked(observed) and (ends is None or now < ends)
    return not facts.row.finished or is_due(observed, facts.row)


def _alive(observed: ObservedBatch, facts: Facts, now: datetime) -> Plan:
    if not observed.has_finalizer:
        return Plan(Step.ADD_FINALIZER)
    if facts.obstacle is not None:
        # A change of the Secret is told.
        told = not _is_of_database(facts.obstacle) and facts.obstacle.reason not in CONTENT_REASONS
        return Plan(Step.WAIT, STALLED_SECONDS if told else LOOK_AGAIN_SECONDS)
    row = facts.row
    if row is not None and row.fingerprint != observed.fingerprint:
        return Plan(Step.WAIT, STALLED_SECONDS)
    if row is not None and row.finished:
        return Plan(Step.RETRY if is_due(observed, row) else Step.REST)
    if row is None or row.state is BatchState.LOADING:
        return _loading(observed, facts)
    return _running(observed, row, now)


def _loading(observed: ObservedBatch, facts: Facts) -> Plan:
    if facts.load is not None and facts.load.failure is not None:
        return Plan(Step.REST)
    if facts.row is not None and observed.spec.suspend and not facts.row.suspended:
        return Plan(Step.SUSPEND)  # its jobs would start as soon as the last one is stored
    return _to_be_loaded(observed, facts) if facts.load is None else Plan(Step.WAIT, 1.0)


def _to_be_loaded(observed: ObservedBatch, facts: Facts) -> Plan:
    if facts.row is None and observed.stated.enqueued:
        # The rows were removed, or the Secret leads to another database by mistake. A user must ask for it to run
        # everything again; if the rows come back, the batch continues.
        return Plan(Step.WAIT, STALLED_SECONDS)
    if not facts.dependencies.recorded:
        return Plan(Step.WAIT)  # until the status is written: a dependency may be gone when the next process loads on
    if observed.content is not None and observed.status.get("contentDigest") != observed.content:
        # A process that comes after this one has to know which rows are the batch's.
        return Plan(Step.WAIT, 0.2)
    return Plan(Step.LOAD)


def _running(observed: ObservedBatch, row: BatchStatus, now: datetime) -> Plan:
    left = deadline_left(observed, row, now)
    if left is not None and left <= 0 and row.state in {BatchState.PENDING, BatchState.RUNNING}:
        return Plan(Step.CANCEL)
    if row.suspended != observed.spec.suspend and row.state in {BatchState.PENDING, BatchState.RUNNING}:
        return Plan(Step.SUSPEND if observed.spec.suspend else Step.RESUME)
    return Plan(Step.WAIT, left if left is not None and left > 0 else None)


def _after_the_end(observed: ObservedBatch, now: datetime) -> Plan:
    ends = observed.time_to_live_ends
    if ends is None:
        return Plan(Step.REST)
    left = (ends - now).total_seconds()
    return Plan(Step.DELETE_OBJECT) if left <= 0 else Plan(Step.WAIT, left)


def _deletion(observed: ObservedBatch, obstacle: Obstacle | None, deleted_at: datetime, now: datetime) -> Plan:
    if not observed.has_finalizer:
        return Plan(Step.REST)
    ends = observed.time_to_live_ends if observed.stated.finished else None
    expired = ends is not None and deleted_at >= ends
    if expired or observed.spec.deletion_policy is DeletionPolicy.ORPHAN or observed.problem is not None:
        return Plan(Step.RELEASE)
    if observed.awaits_content:
        return Plan(Step.RELEASE)  # nothing was loaded for it
    if obstacle is not None:
        limit = NO_DATABASE_DELETION_SECONDS if _is_of_database(obstacle) else NO_SECRET_DELETION_SECONDS
        left = limit - (now - deleted_at).total_seconds()
        if left <= 0:
            return Plan(Step.RELEASE, orphaned=obstacle.message)
        return Plan(Step.WAIT, min(left, LOOK_AGAIN_SECONDS))
    cancels = observed.spec.deletion_policy is DeletionPolicy.CANCEL
    return Plan(Step.CANCEL_ROWS if cancels else Step.REMOVE_ROWS)


def _is_of_database(obstacle: Obstacle) -> bool:
    return obstacle.reason in {Reason.DATABASE_UNAVAILABLE, Reason.DATABASE_REFUSED}
