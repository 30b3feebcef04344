"""Reads the ConfigMaps that hold jobs: by name, when they are needed; they are never listed or watched."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import msgspec

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.sources import configmaps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hammerwork_operator.api.sources import ConfigMapRef
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.sources.source import Contents

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
"""A ConfigMap that is missing is looked for this often, less from time to time, however many batches want it."""

_FORGET_SECONDS = 60.0


class ContentProblemError(Exception):
    """A ConfigMap does not have what it should, and only its owner can cure that."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.message)
        self.obstacle = obstacle


class ContentChangedError(Exception):
    """A ConfigMap is not what it was when the batch was identified by it."""


class _Missing(msgspec.Struct):
    obstacle: Obstacle
    """Without the place where it is wanted: that is another one in each batch."""
    again_at: float
    pause: float = FIRST_PAUSE_SECONDS


class ContentReader:
    """Reads what batches need of ConfigMaps."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._missing: dict[tuple[str, str, str], _Missing] = {}

    async def digest(self, namespace: str, need: Contents) -> str:
        """Return what tells these contents from others.

        Raises:
            ContentProblemError: A ConfigMap or key is missing, or the operator may not read it.
            ApiError: The API server does not answer.
        """
        turns = sorted(range(len(need.refs)), key=lambda position: self._turn(namespace, need.refs[position]))
        found = {position: _digest(await self._content(namespace, need, position)) for position in turns}
        return _together([found[position] for position in range(len(turns))])

    async def read(self, namespace: str, need: Contents, digest: str | None) -> AsyncGenerator[bytes, None]:
        """Yield the contents, one at a time, if they are still what `digest` was made from.

        Raises:
            ContentChangedError: They are not, or are missing.
            ApiError: The API server does not answer.
        """
        try:
            expected = [_digest(await self._content(namespace, need, i)) for i in range(len(need.refs))]
            if _together(expected) != digest:
                raise ContentChangedError("the content of its ConfigMaps has changed")
            for position, one in enumerate(expected):
                content = await self._content(namespace, need, position)
                if _digest(content) != one:
                    raise ContentChangedError(f"{configmaps.place(need.refs, position)} has changed")
                yield content
        except ContentProblemError as error:
            raise ContentChangedError(str(error)) from error

    async def _content(self, namespace: str, need: Contents, position: int) -> bytes:
        ref = need.refs[position]
        key = (namespace, ref.name, ref.key)
        known = self._missing.get(key)
        if known is None or time.monotonic() >= known.again_at:
            found = await self._fetch(namespace, ref)
            if isinstance(found, bytes):
                self._missing.pop(key, None)
                return found
            pause = FIRST_PAUSE_SECONDS if known is None else min(2 * known.pause, LONGEST_PAUSE_SECONDS)
            self._forget_old()
            known = self._missing[key] = _Missing(found, time.monotonic() + pause, pause)
        message = f"{configmaps.place(need.refs, position)}: {known.obstacle.message}"
        raise ContentProblemError(Obstacle(known.obstacle.reason, message))

    def _turn(self, namespace: str, ref: ConfigMapRef) -> int:
        """Return when to read this: what is missing first, so that the others are not read in vain."""
        known = self._missing.get((namespace, ref.name, ref.key))
        if known is None:
            return 2
        return 0 if time.monotonic() < known.again_at else 1

    def _forget_old(self) -> None:
        """Forget what nobody has asked for lately, as when its batch is gone."""
        limit = time.monotonic() - _FORGET_SECONDS
        self._missing = {key: known for key, known in self._missing.items() if known.again_at > limit}

    async def _fetch(self, namespace: str, ref: ConfigMapRef) -> bytes | Obstacle:
        try:
            found = await self._server.get_configmap(namespace, ref.name)
        except ApiError as error:
            if error.forbidden:
                return Obstacle(Reason.CONFIG_MAP_FORBIDDEN, error.message)
            raise
        if found is None:
            message = f"there is no such ConfigMap in namespace {namespace}; create it with the jobs"
            return Obstacle(Reason.CONFIG_MAP_NOT_FOUND, message)
        content = configmaps.content_of(found, ref.key)
        if content is None:
            return Obstacle(Reason.CONFIG_MAP_KEY_NOT_FOUND, "the ConfigMap has no such key; put the jobs there")
        return content


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _together(digests: list[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()
