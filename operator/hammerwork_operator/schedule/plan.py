"""Decides which JobBatches of a JobBatchSchedule to make and which to delete. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from hammerwork_operator.api.jobbatchschedule import ConcurrencyPolicy
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.schedule import due
from hammerwork_operator.schedule.due import Due, last_scheduled, times_of
from hammerwork_operator.schedule.facts import Child, State, oldest_first

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatchschedule import ScheduleSpec
    from hammerwork_operator.schedule.facts import Facts
    from hammerwork_operator.schedule.observed import ObservedSchedule


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now. Doing it and deciding again ends in a plan that neither deletes nor creates."""

    delete: tuple[Child, ...] = ()
    create: datetime | None = None
    """The scheduled time to make a JobBatch for."""
    due: Due = Due()
    wake: datetime | None = None
    """When to decide again, even if nothing changes."""


def decide(observed: ObservedSchedule, facts: Facts, now: datetime) -> Plan:
    """Return what to do at this moment."""
    if observed.deleted:
        return Plan()
    if observed.problem is not None:
        return Plan(due=Due(obstacle=Obstacle(Reason.INVALID_SPEC, observed.problem)))
    superfluous = _superfluous(observed.spec, facts)
    times = times_of(observed.spec)
    if isinstance(times, Obstacle):
        return Plan(delete=superfluous, due=Due(obstacle=times))
    if observed.spec.suspend:
        return Plan(delete=superfluous)
    found = due.look(times, _counted_from(observed, facts), _deadline(observed.spec), now)
    if found.next is None:
        message = f"spec.schedule: {observed.spec.schedule!r} never comes: no such day within five years"
        return Plan(delete=superfluous, due=Due(obstacle=Obstacle(Reason.INVALID_SCHEDULE, message)))
    plan = Plan(delete=superfluous, due=found, wake=found.ahead or found.next)
    return plan if found.scheduled is None else _start(plan, observed, facts, found.scheduled, now)


def _counted_from(observed: ObservedSchedule, facts: Facts) -> datetime:
    last = last_scheduled(observed, facts)
    return observed.since if last is None else max(last, observed.since)


def _deadline(spec: ScheduleSpec) -> timedelta | None:
    seconds = spec.starting_deadline_seconds
    return None if seconds is UNSET else timedelta(seconds=seconds)


def _start(plan: Plan, observed: ObservedSchedule, facts: Facts, scheduled: datetime, now: datetime) -> Plan:
    failure = facts.failure
    if failure is not None and (failure.generation, failure.scheduled) == (observed.generation, scheduled):
        plan = replace(plan, due=replace(plan.due, obstacle=failure.obstacle))
        if not failure.obstacle.passing and (failure.again is None or now < failure.again):
            return replace(plan, wake=min(filter(None, (plan.wake, failure.again)), default=None))
    running = facts.active
    if running and observed.spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        wake = plan.wake
        if wake is not None and (deadline := _deadline(observed.spec)) is not None:
            wake = min(wake, scheduled + deadline)
        return replace(plan, due=replace(plan.due, blocked_by=running[0]), wake=wake)
    replaced: tuple[Child, ...] = ()
    if observed.spec.concurrency_policy is ConcurrencyPolicy.REPLACE:
        replaced = tuple(child for child in running if not child.deleted)
    return replace(plan, delete=(*plan.delete, *replaced), create=scheduled)


def _superfluous(spec: ScheduleSpec, facts: Facts) -> tuple[Child, ...]:
    """Return the finished batches beyond the limits of the history."""
    found: list[Child] = []
    for state, limit in (
        (State.COMPLETE, spec.successful_batches_history_limit),
        (State.FAILED, spec.failed_batches_history_limit),
    ):
        kept = [child for child in oldest_first(facts.children) if child.state is state and not child.deleted]
        found += kept[: max(0, len(kept) - limit)]
    return tuple(found)
