"""Writes the status of an object, not too often."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hammerwork_operator.api.common import MAX_STORED_BYTES
from hammerwork_operator.api.names import FIELD_MANAGER
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import events
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.notes import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.notes import Subject
    from hammerwork_operator.kube.situation import Status
    from hammerwork_operator.metrics import Metrics

_NO_ROOM = Note(
    reason=Reason.TOO_LARGE,
    message=f"the status cannot be written: with it the object would be larger than etcd takes ({MAX_STORED_BYTES:,} "
    "bytes by default); remove annotations, or delete it and make several objects of it",
    warning=True,
)

PAUSE_SECONDS = 1.0
"""The status of one object is written at most this often."""
COST_FACTOR = 4.0
"""Where a write is slow (an object of 1 MiB, a busy API server), writing progress takes at most a fifth of the time."""


def patch(before: Mapping[str, Any], after: Status) -> Status | None:
    """Return the merge patch that turns one status into the other; None if they are equal."""
    if dict(before) == after:
        return None
    return {
        **{key: value for key, value in after.items() if before.get(key) != value},
        **{key: None for key in before if key not in after},
    }


def is_older(metadata: Mapping[str, Any], resource_version: str) -> bool:
    """Return whether an object that the watch brings is older than the version that our last write made.

    Then either the news of that write are on their way, or history was set back, as by a restored etcd: the object has
    to be read to know which.
    """
    return int(metadata["resourceVersion"]) < int(resource_version)


def has_other_writer(metadata: Mapping[str, Any]) -> bool:
    """Return whether somebody else than an operator has written a part of the object's status."""
    return any(
        entry.get("subresource") == "status" and entry.get("manager") != FIELD_MANAGER
        for entry in metadata.get("managedFields") or ()
    )


async def write(server: ApiServer, metrics: Metrics, plural: str, subject: Subject, change: Status) -> str:
    """Patch the status of the object; return the resourceVersion that this made.

    Where the object has no room for it, an event says so.

    Raises:
        ApiError: The object is gone, replaced or too large, or the API server did not answer.
    """
    try:
        answer = await server.patch_status(plural, subject.namespace, subject.name, subject.uid, change)
    except ApiError as error:
        if error.too_large:
            await events.record(server, subject, [_NO_ROOM], again=False)
        raise
    metrics.status_writes.labels(subject.kind).inc()
    version: str = answer["metadata"]["resourceVersion"]
    return version


@dataclass
class Pace:
    """When the status of one object was written last, and how long that took."""

    clock: Callable[[], float] = time.monotonic
    progress_pause: float = PAUSE_SECONDS
    """Mere progress is written at most this often."""
    written_at: float = float("-inf")
    seconds: float = 0.0

    def rest(self, *, progress_only: bool) -> float:
        """Return the seconds until it may be written again, not above 0 if it may be at once."""
        pause = max(self.progress_pause, COST_FACTOR * self.seconds) if progress_only else PAUSE_SECONDS
        return self.written_at + pause - self.clock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Time a write; one that fails does not count."""
        started = self.clock()
        yield
        self.written_at = self.clock()
        self.seconds = self.written_at - started
