"""Kubernetes Events: what `kubectl describe` shows of an object's story."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hammerwork.printable import printable
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.api.names import FIELD_MANAGER
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.conditions import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.notes import Note, Subject

_LOGGER = logging.getLogger(__name__)
_MAX_MESSAGE = 1_024
_MAX_NAME = 253


def event_manifest(subject: Subject, note: Note, now: datetime, *, again: bool = True) -> Manifest:
    """Return the Event of `note`. The same note in the same second has the same name: it is recorded once.

    Without `again`, it is so whenever: as long as the Event is kept, which is an hour by default.
    """
    moment = timestamp(now)
    told = (subject.uid, note.reason, note.message, moment if again else "")
    digest = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{subject.name[: _MAX_NAME - 17]}.{digest}", "namespace": subject.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
        "type": "Warning" if note.warning else "Normal",
        "reason": note.reason.value,
        "message": printable(note.message, lines=True)[:_MAX_MESSAGE],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


async def record(server: ApiServer, subject: Subject, notes: Iterable[Note], *, again: bool = True) -> None:
    """Record events; a failure is logged only, because no decision may depend on an event."""
    for note in notes:
        try:
            await server.create_event(subject.namespace, event_manifest(subject, note, datetime.now(UTC), again=again))
        except ApiError as error:
            if not error.conflict:
                where = f"{subject.kind} {subject.namespace}/{subject.name}"
                _LOGGER.warning("%s: event %s not recorded: %s", where, note.reason, error)
