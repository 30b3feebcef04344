"""Computes the status of a JobBatchSchedule and the events that a change of it deserves. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from hammerwork_operator.api import jobbatch
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.api.jobbatchschedule import MAX_ACTIVE_REFERENCES, SHORT_DEADLINE_SECONDS
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import reckoned, timestamp
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.situation import Situation, changed
from hammerwork_operator.schedule.due import last_scheduled, zone_of
from hammerwork_operator.schedule.facts import State
from hammerwork_operator.schedule.template import written

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from hammerwork_operator.kube.situation import Status
    from hammerwork_operator.schedule.due import Due
    from hammerwork_operator.schedule.facts import Facts
    from hammerwork_operator.schedule.observed import ObservedSchedule


def compute(observed: ObservedSchedule, facts: Facts, due: Due, now: datetime) -> Status:
    """Return the whole status; it changes only when a batch, the spec or the next scheduled time does."""
    running = facts.active
    status: Status = {
        "observedGeneration": observed.generation,
        "observedSchedule": observed.seen(),
        "activeBatches": len(running),
    }
    if running:
        status["active"] = [
            {
                "apiVersion": API_VERSION,
                "kind": jobbatch.KIND,
                "namespace": observed.namespace,
                "name": child.name,
                "uid": child.uid,
            }
            for child in running[-MAX_ACTIVE_REFERENCES:]
        ]
    if (last := last_scheduled(observed, facts)) is not None:
        status["lastScheduleTime"] = timestamp(last)
    if (succeeded := _last_successful(observed, facts)) is not None:
        status["lastSuccessfulTime"] = timestamp(succeeded)
    status["conditions"] = conditions.merge(
        observed.status.get("conditions") or (),
        _situation(observed, due).conditions(),
        generation=observed.generation,
        now=now,
    )
    return status


def _last_successful(observed: ObservedSchedule, facts: Facts) -> datetime | None:
    known = observed.status.get("lastSuccessfulTime")
    times = [child.finished_at for child in facts.children if child.state is State.COMPLETE]
    return max((time for time in (reckoned(known), *times) if time), default=None)


def _situation(observed: ObservedSchedule, due: Due) -> Situation:
    if due.obstacle is not None:
        return Situation.behind(due.obstacle)
    if observed.spec.suspend:
        return Situation(ready=True, reason=Reason.SUSPENDED, message="spec.suspend is true")
    return Situation(ready=True, reason=Reason.SCHEDULED, message="; ".join(_outlook(observed, due)))


def _outlook(observed: ObservedSchedule, due: Due) -> list[str]:
    zone = zone_of(observed.spec)
    assert zone is not None
    assert due.next is not None
    found = []
    if due.blocked_by is not None and due.scheduled is not None:
        found.append(f"the batch of {written(due.scheduled, zone)} waits for {due.blocked_by.name} to finish")
    if due.ahead is not None:
        found.append(
            f"times count from {written(due.ahead, zone)}, which is ahead of the operator's clock, so no batch is made "
            "before"
        )
    found.append(f"next batch at {written(due.next, zone)}")
    seconds = observed.spec.starting_deadline_seconds
    if seconds is not UNSET and seconds < SHORT_DEADLINE_SECONDS:
        risk = "a restart of the operator is enough to miss a run" if seconds else "each run is missed"
        found.append(f"startingDeadlineSeconds is {seconds}: {risk}")
    return found


def notes(before: Mapping[str, Any], after: Mapping[str, Any], facts: Facts, deleted: Collection[str]) -> list[Note]:
    """Return the events that the change deserves; `deleted` are uids of batches that the operator has deleted."""
    found = []
    children = {child.uid: child for child in facts.children}
    for reference in before.get("active") or ():
        child = children.get(reference["uid"])
        if child is None and reference["uid"] not in deleted:
            found.append(Note(reason=Reason.MISSING_BATCH, message=f"active batch went missing: {reference['name']}"))
        elif child is not None and child.state is not State.ACTIVE:
            message = f"saw completed batch: {child.name}, condition: {child.state.value}"
            found.append(Note(reason=Reason.SAW_COMPLETED_BATCH, message=message))
    now = changed(before, after)
    if now is not None and now["status"] != "True":
        found.append(Note(reason=Reason(now["reason"]), message=now["message"], warning=True))
    return found


def told(due: Due) -> list[tuple[datetime, Note]]:
    """Return the events that what is due deserves, each with the scheduled time for which it is told once."""
    scheduled, missed = due.scheduled, due.missed
    found = []
    if missed is not None:
        message = f"missed scheduled time to start a batch: {timestamp(missed)}"
        found.append((missed, Note(reason=Reason.MISS_SCHEDULE, message=message, warning=True)))
    if scheduled is not None and due.many:
        message = (
            f"more than 100 scheduled times have had no batch; only that of {timestamp(scheduled)} is made up "
            "for; set or lower startingDeadlineSeconds, or check the clocks"
        )
        found.append((scheduled, Note(reason=Reason.TOO_MANY_MISSED_TIMES, message=message, warning=True)))
    if scheduled is not None and due.blocked_by is not None:
        message = (
            f"the batch of {timestamp(scheduled)} waits: {due.blocked_by.name} has not finished and "
            "concurrencyPolicy is Forbid"
        )
        found.append((scheduled, Note(reason=Reason.BATCH_ALREADY_ACTIVE, message=message)))
    return found
