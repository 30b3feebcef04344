"""Kubernetes Events: what `kubectl describe` shows of an object's story."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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


def event_manifest(subject: Subject, note: Note, now: datetime) -> Manifest:
    """Return the Event of `note`. The same note in the same second has the same name: it is recorded once."""
    moment = timestamp(now)
    digest = hashlib.sha256(repr((subject.uid, note.reason, note.message, moment)).encode()).hexdigest()[:16]
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
        "message": note.message[:_MAX_MESSAGE],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


async def record(server: ApiServer, subject: Subject, notes: Iterable[Note]) -> None:
    """Record events; a failure is logged only, because no decision may depend on an event."""
    for note in notes:
        try:
            await server.create_event(subject.namespace, event_manifest(subject, note, datetime.now(UTC)))
        except ApiError as error:
            if not error.conflict:
                where = f"{subject.kind} {subject.namespace}/{subject.name}"
                _LOGGER.warning("%s: event %s not recorded: %s", where, note.reason, error)
