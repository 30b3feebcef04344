"""One `JobQueue` and one progress poller per database, found through the Secrets that objects name."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hammerwork import JobQueue
from hammerwork.errors import DatabaseRefusedError, HammerworkError, UnsupportedDatabaseError
from hammerwork_operator.api.common import DatabaseSecretRef
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases.access import Access
from hammerwork_operator.databases.followed import FollowedQueue
from hammerwork_operator.databases.resting import Resting
from hammerwork_operator.databases.secrets import SecretProblemError, Secrets
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.tasks import KeptTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from hammerwork import BatchStatus
    from hammerwork_operator.databases.resting import SecretKey
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics

RETRY_SECONDS = 2.0
"""A database that failed is not asked more often than this, however many objects want it."""
LONGEST_RETRY_SECONDS = 20.0
"""Pauses double up to this before a database that refuses is asked again: it may count wrong passwords."""
IDLE_SECONDS = 300.0
"""Connections to a database without live batches and without pools are closed after this."""
VISIT_SECONDS = 600.0
"""A database to which the connections are closed is visited this often, if batches of finished objects are in it."""
VISIT_PAUSE_SECONDS = 5.0
VISITS = 5
"""Databases that are visited at most after each pause."""
MAX_CONNECTIONS = 10
"""For four large and four small loads, and two to look and to steer meanwhile."""


@dataclass
class _Slot:
    """A URL's database: connected, or failed to connect a moment ago."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    database: FollowedQueue | None = None
    poller: KeptTask | None = None
    failure: HammerworkError | None = None
    """Raised again and again, each time without the traceback of the last, which would grow."""
    failures: int = 0
    """In a row, that the database refused."""
    again_at: float = 0.0
    """When it may be asked again after a failure."""


class Databases:
    """Finds the database of an object. The URL in a Secret is the identity: two Secrets with one URL share a queue."""

    def __init__(self, server: ApiServer, metrics: Metrics, access: Access | None = None) -> None:
        self.secrets = Secrets(server, metrics)
        self._access = access or Access()
        self._metrics = metrics
        self._slots: dict[str, _Slot] = {}
        self._urls: dict[tuple[str, str, str], str] = {}
        """Where each Secret led to last, by namespace, name and key."""
        self._sweeper: KeptTask | None = None
        self._visitor: KeptTask | None = None
        self._visited: dict[SecretKey, float] = {}
        self._resting = Resting()
        metrics.live_batches.set_function(lambda: sum(database.followed for database in self._connected()))
        metrics.databases.labels("up").set_function(lambda: sum(map(_up, self._slots.values())))
        metrics.databases.labels("down").set_function(lambda: sum(not _up(slot) for slot in self._slots.values()))

    async def database(self, namespace: str, ref: DatabaseSecretRef) -> FollowedQueue:
        """Return the database whose URL the Secret holds; connect and create the tables on first use.

        Raises:
            SecretProblemError: Only the Secret's owner can cure it.
            DatabaseError: The database does not answer, or it refuses.
            ApiError: The API server does not answer.
        """
        if self._sweeper is None:
            self._sweeper = KeptTask("sweeper", "drop idle databases", self._drop_idle_forever, self._metrics)
        url = await self._url(namespace, ref)
        origin = f"Secret {namespace}/{ref.name}, key {ref.key!r}"
        if url not in self._slots or not _up(self._slots[url]):
            self.secrets.hurry(namespace, ref.name)
        try:
            if (refusal := self._access.refusal(url)) is not None:
                raise SecretProblemError(Reason.DATABASE_FORBIDDEN, f"{origin}: {refusal}")
            slot = self._slots.setdefault(url, _Slot())
            if slot.failure is not None and slot.lock.locked():
                # Another caller is trying again; the others do not wait for the outcome.
                raise slot.failure.with_traceback(None)
            async with slot.lock:
                if slot.database is None:
                    await self._connect(url, slot)
        except UnsupportedDatabaseError as error:
            raise SecretProblemError(Reason.INVALID_DATABASE_URL, f"{origin}: {error}") from error
        assert slot.database is not None
        slot.database.used_at = time.monotonic()
        return slot.database

    def rest(
        self, namespace: str, ref: DatabaseSecretRef, batch_id: UUID, check: Callable[[BatchStatus], None]
    ) -> None:
        """Call `check` with the status of a batch that is not followed, every now and then, if it is there."""
        if self._visitor is None:
            self._visitor = KeptTask("visitor", "visit resting databases", self._visit_forever, self._metrics)
        self._resting.add((namespace, ref.name, ref.key), batch_id, check)

    def unrest(self, namespace: str, ref: DatabaseSecretRef, batch_id: UUID) -> None:
        """Undo `rest`."""
        self._resting.remove((namespace, ref.name, ref.key), batch_id)

    def known(self, namespace: str, ref: DatabaseSecretRef) -> FollowedQueue | None:
        """Return the database that the Secret led to before, even if the Secret is gone by now."""
        slot = self._slots.get(self._urls.get((namespace, ref.name, ref.key), ""))
        return slot.database if slot else None

    async def close(self) -> None:
        """Close all connections."""
        await self.secrets.stop()
        for task in (self._sweeper, self._visitor):
            if task is not None:
                await task.stop()
        for url in list(self._slots):
            await self._drop(url)

    async def _drop_idle_forever(self) -> None:
        """Close the connections to databases that nothing has needed for a while, until cancelled."""
        while True:
            await asyncio.sleep(IDLE_SECONDS / 4)
            for url, slot in list(self._slots.items()):
                database = slot.database
                if database and not database.needed and time.monotonic() - database.used_at > IDLE_SECONDS:
                    await self._drop(url)

    async def _visit_forever(self) -> None:
        """Connect now and then to databases that only resting batches are in, until cancelled."""
        while True:
            await asyncio.sleep(VISIT_PAUSE_SECONDS)
            for secret in [secret for secret in self._resting.secrets if self._is_forgotten(secret)][:VISITS]:
                self._visited[secret] = time.monotonic()
                with contextlib.suppress(SecretProblemError, HammerworkError, ApiError):
                    await self.database(secret[0], DatabaseSecretRef(name=secret[1], key=secret[2]))

    def _is_forgotten(self, secret: SecretKey) -> bool:
        slot = self._slots.get(self._urls.get(secret, ""))
        if slot is not None and slot.database is not None:
            return False
        return time.monotonic() - self._visited.get(secret, float("-inf")) > VISIT_SECONDS

    def _resting_at(self, url: str) -> Mapping[UUID, Callable[[BatchStatus], None]]:
        """Return the resting batches at the database whose turn it is."""
        return self._resting.turn(secret for secret, known in self._urls.items() if known == url)

    def _connected(self) -> list[FollowedQueue]:
        return [slot.database for slot in self._slots.values() if slot.database]

    async def _url(self, namespace: str, ref: DatabaseSecretRef) -> str:
        key = (namespace, ref.name, ref.key)
        _, url = await self.secrets.read(namespace, ref)
        before, self._urls[key] = self._urls.get(key), url
        if before is not None and before != url:
            self._drop_unreached(before)
        return url

    def _drop_unreached(self, url: str) -> None:
        """Forget a database that never answered, once no Secret leads there any more."""
        slot = self._slots.get(url)
        unused = url not in self._urls.values()
        if slot is not None and slot.database is None and unused and not slot.lock.locked():
            del self._slots[url]

    async def _connect(self, url: str, slot: _Slot) -> None:
        if slot.failure is not None and time.monotonic() < slot.again_at:
            raise slot.failure.with_traceback(None)
        try:
            queue = await JobQueue.connect(url, max_connections=MAX_CONNECTIONS)
            try:
                await queue.create_tables()
            except BaseException:
                await queue.close()
                raise
        except HammerworkError as error:
            slot.failure = error
            slot.failures = slot.failures + 1 if isinstance(error, DatabaseRefusedError) else 0
            pause = RETRY_SECONDS * 2.0 ** max(0, min(slot.failures - 1, 8))
            slot.again_at = time.monotonic() + min(pause, LONGEST_RETRY_SECONDS)
            raise
        slot.failure, slot.failures = None, 0
        slot.database = FollowedQueue(queue, lambda: self._resting_at(url))
        slot.poller = KeptTask("poller", "poll a database", slot.database.poll_forever, self._metrics)

    async def _drop(self, url: str) -> None:
        slot = self._slots.pop(url)
        if slot.poller is not None:
            await slot.poller.stop()
        if slot.database is not None:
            await slot.database.queue.close()


def _up(slot: _Slot) -> bool:
    return slot.database is not None and slot.database.obstacle is None
