"""What is known of a JobBatchSchedule beside the object itself: its JobBatches. Pure."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.api.common import GROUP
from hammerwork_operator.api.jobbatchschedule import KIND
from hammerwork_operator.api.names import ANNOTATION_SCHEDULED_TIME
from hammerwork_operator.api.reasons import Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import moment, reckoned
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class State(enum.Enum):
    """How far a JobBatch is."""

    ACTIVE = "Active"
    COMPLETE = "Complete"
    FAILED = "Failed"


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A JobBatch of the schedule."""

    name: str
    uid: str
    created_at: datetime
    scheduled_at: datetime | None
    """None if its annotation does not tell."""
    state: State
    finished_at: datetime | None = None
    deleted: bool = False
    """Whether it is being deleted."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A JobBatch that could not be made."""

    generation: int
    scheduled: datetime
    obstacle: Obstacle
    again: datetime | None = None
    """When to try again what was refused; None: at the next scheduled time, or when the schedule has changed."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the API server and this process say of the batches of a schedule."""

    children: tuple[Child, ...] = ()
    made: datetime | None = None
    """The latest time for which this process has seen that the batch is there."""
    failure: Failure | None = None
    """The latest failure, unless a batch was made since."""

    @property
    def active(self) -> list[Child]:
        """The batches that have not finished, oldest first."""
        return oldest_first(child for child in self.children if child.state is State.ACTIVE)


def oldest_first(children: Iterable[Child]) -> list[Child]:
    """Return the batches in the order of their scheduled times."""
    return sorted(children, key=lambda child: (child.scheduled_at or child.created_at, child.created_at, child.name))


def owner_of(batch: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return name and uid of the schedule that a JobBatch belongs to, or None."""
    for owner in batch["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == KIND and owner["apiVersion"].startswith(f"{GROUP}/"):
            return owner["name"], owner["uid"]
    return None


def child_of(batch: Mapping[str, Any]) -> Child:
    """Return what is to be known of a JobBatch."""
    metadata, status = batch["metadata"], batch.get("status") or {}
    stated = status.get("conditions")
    state = State.ACTIVE
    if conditions.holds(stated, Type.COMPLETE):
        state = State.COMPLETE
    elif conditions.holds(stated, Type.FAILED):
        state = State.FAILED
    finished = status.get("completionTime") if state is not State.ACTIVE else None
    scheduled = reckoned((metadata.get("annotations") or {}).get(ANNOTATION_SCHEDULED_TIME))
    return Child(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=moment(metadata["creationTimestamp"]),
        scheduled_at=scheduled.astimezone(UTC) if scheduled is not None else None,
        state=state,
        finished_at=reckoned(finished),
        deleted="deletionTimestamp" in metadata,
    )
