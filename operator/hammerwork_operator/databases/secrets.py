"""Reads the Secrets that hold database URLs: by name, each at most once at a time, however many objects want it.

Secrets are never listed or watched. One that somebody follows is read again and again, and whoever follows it is told
when it has changed, is gone or is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.client import ApiError, secret_value
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.tasks import KeptTask

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hammerwork_operator.api.common import DatabaseSecretRef, Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics

SECONDS = 10.0
"""How often a Secret is read that leads to a database which can be used."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3.0
"""Pauses double from the one to the other for one that is missing, or whose database cannot be used."""
MOST_READS = 20.0
"""A second, of all Secrets together, once there are so many: then all pauses are longer."""
FRESH_SECONDS = 0.5
"""An object that comes to a Secret which was read longer ago has it read again."""
TURN_SECONDS = 0.5
_PARALLEL = 10

_LOGGER = logging.getLogger(__name__)

_Name = tuple[str, str]
"""Namespace and name of a Secret."""


class SecretProblemError(Exception):
    """The Secret does not lead to a database, and only its owner can cure that."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.obstacle = Obstacle(reason, message)


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wakes: dict[Hashable, Callable[[], None]] = field(default_factory=dict)
    found: Manifest | ApiError | None = None
    """The Secret; None: there is none; an error: it may not be read."""
    read_at: float = float("-inf")
    """When the API server has answered last."""
    tried_at: float = float("-inf")
    misses: int = 0
    """Reads in a row that did not lead to a database which can be used."""
    hurried: bool = False
    """Somebody could not use the database since the last read."""

    @property
    def pause(self) -> float:
        """Seconds from one read to the next."""
        return (
            min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.misses - 1, 8), LONGEST_PAUSE_SECONDS) if self.misses else SECONDS
        )


class Secrets:
    """The Secrets that objects have named."""

    def __init__(self, server: ApiServer, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._metrics = metrics
        self._entries: dict[_Name, _Entry] = {}
        self._keeper: KeptTask | None = None

    def follow(self, namespace: str, name: str, follower: Hashable, wake: Callable[[], None]) -> None:
        """Read the Secret again and again from now on, and call `wake` whenever it has changed."""
        if self._keeper is None:
            self._keeper = KeptTask("secrets", "read Secrets", self._read_forever, self._metrics)
        entry = self._entries.setdefault((namespace, name), _Entry())
        if follower not in entry.wakes and self._clock() - entry.read_at > FRESH_SECONDS:
            entry.read_at = float("-inf")
        entry.wakes[follower] = wake

    def unfollow(self, namespace: str, name: str, follower: Hashable) -> None:
        """Forget the follower."""
        entry = self._entries.get((namespace, name))
        if entry is not None:
            entry.wakes.pop(follower, None)
            if not entry.wakes:
                del self._entries[namespace, name]

    def hurry(self, namespace: str, name: str) -> None:
        """Take note that the database cannot be used that the Secret leads to: perhaps it will lead to another."""
        if (entry := self._entries.get((namespace, name))) is not None:
            entry.hurried = True
            entry.misses = max(entry.misses, 1)

    async def read(self, namespace: str, ref: DatabaseSecretRef) -> tuple[Manifest, str]:
        """Return the Secret and the database URL in it, as they were seen last.

        Raises:
            SecretProblemError: There is no such Secret or key, or the operator may not read it.
            ApiError: The API server did not answer.
        """
        entry = self._entries.get((namespace, ref.name)) or _Entry()
        if entry.read_at == float("-inf"):
            await self._refresh((namespace, ref.name), entry, after=entry.read_at)
        found = entry.found
        where = f"Secret {namespace}/{ref.name}"
        if isinstance(found, ApiError):
            raise SecretProblemError(Reason.SECRET_FORBIDDEN, f"{where}: {found.message}")
        if found is None:
            raise SecretProblemError(
                Reason.SECRET_NOT_FOUND, f"{where} does not exist; create it with the database URL under {ref.key!r}"
            )
        url = secret_value(found, ref.key)
        if not url:
            self.hurry(namespace, ref.name)
            raise SecretProblemError(
                Reason.SECRET_KEY_NOT_FOUND, f"{where} has no value under {ref.key!r}; put the database URL there"
            )
        return found, url

    async def stop(self) -> None:
        """Read no more."""
        if self._keeper is not None:
            await self._keeper.stop()

    async def _read_forever(self) -> None:
        while True:
            await asyncio.sleep(TURN_SECONDS)
            await self.turn()

    async def turn(self) -> None:
        """Read those whose pause is over."""
        limit = asyncio.Semaphore(_PARALLEL)

        async def read(name: _Name, entry: _Entry) -> None:
            async with limit:
                try:
                    await self._refresh(name, entry, after=entry.read_at)
                except ApiError as error:
                    _LOGGER.warning("Secret %s/%s is not read: %s", *name, error)

        least, now = len(self._entries) / MOST_READS, self._clock()
        due = [each for each in self._entries.items() if now - each[1].tried_at >= max(each[1].pause, least)]
        await asyncio.gather(*(read(name, entry) for name, entry in due))

    async def _refresh(self, name: _Name, entry: _Entry, *, after: float) -> None:
        """Read the Secret, unless somebody else has since."""
        async with entry.lock:
            if entry.read_at > after:
                return
            before, known = _version(entry.found), entry.tried_at > float("-inf")
            entry.tried_at = self._clock()
            try:
                entry.found = await self._server.get_secret(*name)
            except ApiError as error:
                if not error.forbidden:
                    raise
                entry.found = error
            entry.read_at = self._clock()
            missing = entry.found is None or isinstance(entry.found, ApiError)
            changed = known and before != _version(entry.found)
            entry.misses = 0 if changed else entry.misses
            entry.misses = entry.misses + 1 if missing or entry.hurried else 0
            entry.hurried = False
        if changed:
            for wake in list(entry.wakes.values()):
                wake()


def _version(found: Manifest | ApiError | None) -> tuple[str, ...]:
    """Return what differs between two states of a Secret."""
    if found is None:
        return ()
    if isinstance(found, ApiError):
        return (found.message,)
    return found["metadata"]["uid"], found["metadata"]["resourceVersion"]
