"""Finds out what was deleted while nobody watched: a list tells what is there, and nothing of what is not. Pure.

kopf lists and watches, and lists again after a break. What it was shown of a path before, and what the new list does
not have, is gone; the watch that follows says so, as the API server would have said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.api.names import LABEL_POOL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Owner(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class _Metadata(msgspec.Struct, rename="camel"):
    """What whoever keeps an object has to know of it to forget it. It is bounded, whatever the object has."""

    name: str
    uid: str
    creation_timestamp: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


class _Event(msgspec.Struct):
    type: str
    object: _Object


class MissedDeletions:
    """By path of a watch: the objects that it has shown, and those of them that have gone unseen."""

    def __init__(self) -> None:
        self._shown: dict[str, dict[str, bytes]] = {}
        """The event of its deletion, for each object by its uid."""
        self._listed: dict[str, set[str]] = {}
        """Uids in the parts of the list that is under way."""
        self._gone: dict[str, list[str]] = {}
        """Uids of those that the last complete list did not have."""

    def listed(self, path: str, answer: Mapping[str, Any], *, continued: bool) -> None:
        """Take note of a part of a list, the first unless `continued`; nothing is gone before its end has come."""
        if not continued:
            self._listed[path] = set()
        listed, shown = self._listed.get(path), self._shown.setdefault(path, {})
        for item in answer["items"] or ():
            metadata = msgspec.convert(item["metadata"], _Metadata)
            shown[metadata.uid] = _deletion(metadata)
            if listed is not None:
                listed.add(metadata.uid)
        if listed is not None and not answer["metadata"].get("continue"):
            self._gone[path] = [uid for uid in shown if uid not in listed]
            del self._listed[path]

    def watched(self, path: str, line: bytes) -> None:
        """Take note of an event of a watch."""
        try:
            event = msgspec.json.decode(line, type=_Event)
        except msgspec.ValidationError:
            return  # no news of an object, such as a bookmark
        shown = self._shown.setdefault(path, {})
        if event.type == "DELETED":
            shown.pop(event.object.metadata.uid, None)
        else:
            shown[event.object.metadata.uid] = _deletion(event.object.metadata)

    def told(self, path: str) -> Iterator[bytes]:
        """Yield an event for each object that has gone unseen; it is not told again."""
        gone, shown = self._gone.get(path, []), self._shown.get(path, {})
        while gone:
            yield shown.pop(gone.pop())


def _deletion(metadata: _Metadata) -> bytes:
    labels, owners = metadata.labels or {}, metadata.owner_references or []
    kept = msgspec.structs.replace(
        metadata,
        labels={key: value for key, value in labels.items() if key == LABEL_POOL},
        owner_references=[owner for owner in owners if owner.controller],
    )
    return msgspec.json.encode(_Event(type="DELETED", object=_Object(metadata=kept)))
