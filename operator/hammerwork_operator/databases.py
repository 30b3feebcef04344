"""One `JobQueue` and one progress poller per database, found through the Secrets that objects name."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hammerwork import JobQueue
from hammerwork.errors import DatabaseError, HammerworkError, UnsupportedDatabaseError
from hammerwork_operator import conditions
from hammerwork_operator.database_secret import SecretProblemError, read_database_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from hammerwork import BatchStatus
    from hammerwork_operator.api.common import DatabaseSecretRef
    from hammerwork_operator.cluster import Cluster
    from hammerwork_operator.metrics import Metrics

POLL_SECONDS = 1.0
SECRET_SECONDS = 30.0
"""How long the URL that a Secret held is used before the Secret is read again."""
RETRY_SECONDS = 2.0
"""A database or Secret that failed is not asked more often than this, however many objects want it."""
IDLE_SECONDS = 300.0
"""A database that no batch needs is let go after this."""
MAX_CONNECTIONS = 6

_LOGGER = logging.getLogger(__name__)


class Database:
    """A queue, and the latest counts of the batches that are followed in it."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.error: str | None = None
        """Why the database does not answer, or None while it does."""
        self.statuses: dict[UUID, BatchStatus] = {}
        self._wakes: dict[UUID, Callable[[], None]] = {}
        self._failures = 0
        self.used_at = time.monotonic()

    def follow(self, batch_id: UUID, wake: Callable[[], None]) -> None:
        """Keep the batch's status fresh, and call `wake` whenever it, or whether the database answers, changes."""
        self._wakes[batch_id] = wake

    def unfollow(self, batch_id: UUID) -> None:
        """Forget the batch."""
        self._wakes.pop(batch_id, None)
        self.statuses.pop(batch_id, None)

    @property
    def followed(self) -> int:
        """Number of the batches that are followed."""
        return len(self._wakes)

    async def look(self, batch_id: UUID) -> BatchStatus | None:
        """Return the batch's status as it is now; None if the database has no such batch."""
        status = (await self.queue.get_batch_statuses([batch_id])).get(batch_id)
        if status is not None and batch_id in self._wakes:
            self.statuses[batch_id] = status
        return status

    async def poll_forever(self) -> None:
        """Refresh all followed batches once a second, in one query, until cancelled."""
        while True:
            await asyncio.sleep(min(POLL_SECONDS * 2.0 ** min(self._failures, 4), 10.0))
            try:
                await self._poll()
            except DatabaseError as error:
                self._failed(str(error))
            except Exception as error:
                _LOGGER.exception("poll of a database failed")
                self._failed(str(error))

    async def _poll(self) -> None:
        wakes = dict(self._wakes)
        if wakes or self.error is not None:
            await self.queue.check_version()
        if wakes:
            self.used_at = time.monotonic()
            self._changed(wakes, await self.queue.get_batch_statuses(list(wakes)))
            await self.queue.upkeep()
        self._failures = 0
        if self.error is not None:
            self.error = None
            _wake_all(self._wakes)

    def _changed(self, wakes: dict[UUID, Callable[[], None]], statuses: dict[UUID, BatchStatus]) -> None:
        for batch_id, wake in wakes.items():
            status = statuses.get(batch_id)
            if batch_id not in self._wakes or status == self.statuses.get(batch_id):
                continue
            if status is None:
                del self.statuses[batch_id]
            else:
                self.statuses[batch_id] = status
            wake()

    def _failed(self, message: str) -> None:
        self._failures += 1
        news = self.error is None
        self.error = message
        if news:
            _LOGGER.warning("a database cannot be used: %s", message)
            _wake_all(self._wakes)


def _wake_all(wakes: dict[UUID, Callable[[], None]]) -> None:
    for wake in list(wakes.values()):
        wake()


@dataclass
class _Slot:
    """A URL's database: connected, or failed to connect a moment ago."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    database: Database | None = None
    poller: asyncio.Task[None] | None = None
    failure: tuple[float, HammerworkError] | None = None


class Databases:
    """Finds the database of an object. The URL in a Secret is the identity: two Secrets with one URL share a queue."""

    def __init__(self, cluster: Cluster, metrics: Metrics) -> None:
        self._cluster = cluster
        self._slots: dict[str, _Slot] = {}
        self._urls: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        metrics.live_batches.set_function(lambda: sum(database.followed for database in self._connected()))
        metrics.databases.labels("up").set_function(lambda: sum(map(_up, self._slots.values())))
        metrics.databases.labels("down").set_function(lambda: sum(not _up(slot) for slot in self._slots.values()))

    async def database(self, namespace: str, ref: DatabaseSecretRef) -> Database:
        """Return the database whose URL the Secret holds; connect and create the tables on first use.

        Raises:
            SecretProblemError: Only the Secret's owner can cure it.
            DatabaseError: The database does not answer, or it refuses.
            ApiError: The API server does not answer.
        """
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._drop_idle_forever(), name="drop idle databases")
        url = await self._url(namespace, ref)
        slot = self._slots.setdefault(url, _Slot())
        try:
            if slot.failure is not None and slot.lock.locked():
                raise slot.failure[1]  # somebody is trying again; not everybody has to wait for the outcome
            async with slot.lock:
                if slot.database is None:
                    await self._connect(url, slot)
        except UnsupportedDatabaseError as error:
            origin = f"Secret {namespace}/{ref.name}, key {ref.key!r}"
            raise SecretProblemError(conditions.INVALID_DATABASE_URL, f"{origin}: {error}") from error
        assert slot.database is not None
        slot.database.used_at = time.monotonic()
        return slot.database

    def known(self, namespace: str, ref: DatabaseSecretRef) -> Database | None:
        """Return the database that the Secret led to before, even if the Secret is gone by now."""
        cached = self._urls.get((namespace, ref.name, ref.key))
        slot = self._slots.get(cached[1]) if cached else None
        return slot.database if slot else None

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for url in list(self._slots):
            await self._drop(url)

    async def _drop_idle_forever(self) -> None:
        """Let databases go that nothing has needed for a while, until cancelled."""
        while True:
            await asyncio.sleep(IDLE_SECONDS / 4)
            for url, slot in list(self._slots.items()):
                database = slot.database
                if database and not database.followed and time.monotonic() - database.used_at > IDLE_SECONDS:
                    await self._drop(url)

    def _connected(self) -> list[Database]:
        return [slot.database for slot in self._slots.values() if slot.database]

    async def _url(self, namespace: str, ref: DatabaseSecretRef) -> str:
        key = (namespace, ref.name, ref.key)
        cached = self._urls.get(key)
        if cached is not None:
            read_at, url = cached
            slot = self._slots.get(url)
            fresh_for = SECRET_SECONDS if slot is None or _up(slot) else RETRY_SECONDS
            if time.monotonic() - read_at < fresh_for:
                return url
        _, url = await read_database_secret(self._cluster, namespace, ref)
        self._urls[key] = (time.monotonic(), url)
        if cached is not None and cached[1] != url:
            self._drop_unreached(cached[1])
        return url

    def _drop_unreached(self, url: str) -> None:
        """Forget a database that never answered, once no Secret leads there any more."""
        slot = self._slots.get(url)
        unused = all(known != url for _, known in self._urls.values())
        if slot is not None and slot.database is None and unused and not slot.lock.locked():
            del self._slots[url]

    async def _connect(self, url: str, slot: _Slot) -> None:
        if slot.failure and time.monotonic() - slot.failure[0] < RETRY_SECONDS:
            raise slot.failure[1]
        try:
            queue = await JobQueue.connect(url, max_connections=MAX_CONNECTIONS)
            try:
                await queue.create_tables()
            except BaseException:
                await queue.close()
                raise
        except HammerworkError as error:
            slot.failure = (time.monotonic(), error)
            raise
        slot.failure = None
        slot.database = Database(queue)
        slot.poller = asyncio.create_task(slot.database.poll_forever(), name="poll a database")

    async def _drop(self, url: str) -> None:
        slot = self._slots.pop(url)
        if slot.poller is not None:
            slot.poller.cancel()
            await asyncio.gather(slot.poller, return_exceptions=True)
        if slot.database is not None:
            await slot.database.queue.close()


def _up(slot: _Slot) -> bool:
    return slot.database is not None and slot.database.error is None
