"""A list of conditions and how it changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hammerwork.printable import printable
from hammerwork_operator.api.reasons import Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hammerwork_operator.api.reasons import Reason

_ORDER = list(Type)
_MAX_MESSAGE = 1_024
_FIRST_YEAR, _LAST_YEAR = 2000, 3000

ConditionDict = dict[str, Any]


def timestamp(moment: datetime) -> str:
    """Return the moment as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """Return the moment that `timestamp` or the API server wrote."""
    return datetime.fromisoformat(text)


def reckoned(text: str | None) -> datetime | None:
    """Return a moment that anybody may have written, if it can be reckoned with.

    The API server takes others too, such as of the years 0 and 9999.
    """
    try:
        found = moment(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None and _FIRST_YEAR <= found.year <= _LAST_YEAR else None


def condition(kind: Type, holds: bool | None, reason: Reason, message: str) -> ConditionDict:
    """Return a condition that `merge` completes; None is Unknown."""
    message = printable(message, lines=True)
    return {
        "type": kind.value,
        "status": "Unknown" if holds is None else "True" if holds else "False",
        "reason": reason.value,
        "message": message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…",
    }


def merge(
    previous: Iterable[Mapping[str, Any]], wanted: Iterable[ConditionDict], *, generation: int, now: datetime
) -> list[ConditionDict]:
    """Return `wanted` with generation and transition times; a time changes only when the condition's status does."""
    before = {entry["type"]: entry for entry in previous}
    merged = []
    for entry in sorted(wanted, key=lambda each: _ORDER.index(each["type"])):
        old = before.get(entry["type"])
        same = old is not None and old.get("status") == entry["status"]
        since = old["lastTransitionTime"] if old is not None and same else timestamp(now)
        merged.append({**entry, "observedGeneration": generation, "lastTransitionTime": since})
    return merged


def find(conditions: Sequence[Mapping[str, Any]] | None, kind: str) -> Mapping[str, Any] | None:
    """Return the condition of this type, or None."""
    return next((entry for entry in conditions or () if entry.get("type") == kind), None)


def holds(conditions: Sequence[Mapping[str, Any]] | None, kind: str) -> bool:
    """Return whether the condition of this type is there and True."""
    entry = find(conditions, kind)
    return entry is not None and entry.get("status") == "True"
