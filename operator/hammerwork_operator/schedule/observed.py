"""A JobBatchSchedule as it was last seen. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from hammerwork_operator.api.jobbatchschedule import KIND, ScheduleSpec
from hammerwork_operator.kube.conditions import moment, reckoned, timestamp
from hammerwork_operator.kube.notes import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping


class ObservedSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions about a JobBatchSchedule are made from."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleted: bool
    spec: ScheduleSpec
    """Without the template, which may be large; it is read from the API server for each JobBatch."""
    since: datetime
    """Scheduled times count from here."""
    status: dict[str, Any]
    """As the object has it, or as we wrote it last."""
    problem: str | None = None
    """What is wrong with the spec, if the operator cannot read it."""

    @property
    def subject(self) -> Subject:
        """The object, as events and writes name it."""
        return Subject(kind=KIND, namespace=self.namespace, name=self.name, uid=self.uid)

    @property
    def last_scheduled(self) -> datetime | None:
        """The latest time that a batch was made for, as the status has it."""
        return reckoned(self.status.get("lastScheduleTime"))

    def seen(self) -> dict[str, str]:
        """Return what the status says of the schedule that was seen."""
        return {**_schedule(self.spec), "since": timestamp(self.since)}

    def with_status(self, status: dict[str, Any], resource_version: str) -> ObservedSchedule:
        """Return the object as it is after its status was written."""
        return msgspec.structs.replace(self, status=status, resource_version=resource_version)


def observe(manifest: Mapping[str, Any], now: datetime, known: ObservedSchedule | None = None) -> ObservedSchedule:
    """Return what is to be known of the object; `known` is the same object as it was seen before."""
    metadata = manifest["metadata"]
    problem = None
    try:
        spec = msgspec.convert(manifest.get("spec"), ScheduleSpec)
    except msgspec.ValidationError as error:
        spec, problem = ScheduleSpec(schedule=""), f"spec: {error}"
    status = dict(manifest.get("status") or {})
    return ObservedSchedule(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        deleted="deletionTimestamp" in metadata,
        spec=spec,
        since=_since(spec, status, moment(metadata["creationTimestamp"]), now, known),
        status=status,
        problem=problem,
    )


def _since(
    spec: ScheduleSpec, status: Mapping[str, Any], created: datetime, now: datetime, known: ObservedSchedule | None
) -> datetime:
    """Return from when the times of this schedule count; they count anew when it has changed."""
    stated = status.get("observedSchedule")
    if known is not None and _schedule(known.spec) == _schedule(spec):
        return known.since
    if stated is None and known is None:
        return created
    if stated is not None and {key: text for key, text in stated.items() if key != "since"} == _schedule(spec):
        since = reckoned(stated.get("since"))
        if since is not None:
            return since
    return now.replace(microsecond=0)


def _schedule(spec: ScheduleSpec) -> dict[str, str]:
    zone = {} if spec.time_zone is UNSET else {"timeZone": spec.time_zone}
    return {"schedule": spec.schedule, **zone}
