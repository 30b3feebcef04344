"""Makes the JobBatch of one scheduled time from the template. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from hammerwork import placeholders
from hammerwork_operator.api import jobbatch
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.api.jobbatchschedule import KIND
from hammerwork_operator.api.names import ANNOTATION_SCHEDULED_TIME, LABEL_SCHEDULE

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.notes import Subject

_PLACEHOLDER = "scheduledTime"


def batch_name(schedule: str, scheduled: datetime) -> str:
    """Return the name of the JobBatch of a scheduled time: whoever makes it a second time finds it there."""
    return f"{schedule}-{int(scheduled.timestamp()) // 60}"


def build_batch(owner: Subject, template: Manifest, scheduled: datetime, zone: tzinfo) -> Manifest:
    """Return the JobBatch; `template` becomes part of it, and is changed."""
    time = written(scheduled, zone)
    _fill(template, time)
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": API_VERSION,
        "kind": jobbatch.KIND,
        "metadata": {
            "namespace": owner.namespace,
            "name": batch_name(owner.name, scheduled),
            "labels": {**(metadata.get("labels") or {}), LABEL_SCHEDULE: owner.name},
            "annotations": {**(metadata.get("annotations") or {}), ANNOTATION_SCHEDULED_TIME: time},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def written(scheduled: datetime, zone: tzinfo) -> str:
    """Return the time as RFC 3339 has it, with the offset of the zone; ``Z`` in UTC."""
    text = scheduled.astimezone(zone).isoformat(timespec="seconds")
    return text.removesuffix("+00:00") + "Z" if zone is UTC else text


def _fill(value: Any, time: str) -> None:
    """Replace the placeholder in all string values in and below `value`. A loop: a payload may be nested deeply."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        for key, entry in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(entry, str):
                node[key] = placeholders.with_value(entry, _PLACEHOLDER, time)
            elif isinstance(entry, dict | list):
                waiting.append(entry)
