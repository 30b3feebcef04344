"""Kubernetes Events: what `kubectl describe` shows of an object's story."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.cluster import ApiError
from hammerwork_operator.conditions import timestamp
from hammerwork_operator.names import FIELD_MANAGER

if TYPE_CHECKING:
    from hammerwork_operator.cluster import Cluster, Manifest

_LOGGER = logging.getLogger(__name__)
_MAX_MESSAGE = 1_024
_MAX_NAME = 253


@dataclass(frozen=True, kw_only=True)
class Note:
    """An event to record."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The object that an event is about."""

    kind: str
    namespace: str
    name: str
    uid: str


def event_manifest(subject: Subject, note: Note, now: datetime) -> Manifest:
    """Return the Event that tells `note`. The same note in the same second has the same name: it is recorded once."""
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
        "reason": note.reason,
        "message": note.message[:_MAX_MESSAGE],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


async def record(cluster: Cluster, subject: Subject, note: Note) -> None:
    """Record an event; a failure is logged only, because no decision may depend on an event."""
    try:
        await cluster.create_event(subject.namespace, event_manifest(subject, note, datetime.now(UTC)))
    except ApiError as error:
        if not error.conflict:
            _LOGGER.warning(
                "%s %s/%s: event %s not recorded: %s", subject.kind, subject.namespace, subject.name, note.reason, error
            )
