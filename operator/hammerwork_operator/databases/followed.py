"""A queue in which batches are followed: one query a second, whatever their number."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from hammerwork.errors import DatabaseError, DatabaseRefusedError
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases.backlogs import Backlogs
from hammerwork_operator.databases.workers import RegisteredWorkers
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from hammerwork import BatchStatus, JobQueue

POLL_SECONDS = 1.0

_LOGGER = logging.getLogger(__name__)


class FollowedQueue:
    """A queue, and the latest counts of the batches that are followed in it."""

    def __init__(
        self, queue: JobQueue, resting: Callable[[], Mapping[UUID, Callable[[BatchStatus], None]]] = dict
    ) -> None:
        """Take the queue, and what gives the batches that are looked at beside the followed ones, and whom to tell."""
        self.queue = queue
        self._resting = resting
        self.obstacle: Obstacle | None = None
        """Why the database cannot be used, or None while it can."""
        self.statuses: dict[UUID, BatchStatus] = {}
        self.backlogs = Backlogs(queue)
        """Of the queues that pools serve."""
        self.workers = RegisteredWorkers(queue)
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

    @property
    def needed(self) -> bool:
        """Whether any batch or queue is followed."""
        return bool(self._wakes) or self.backlogs.followed

    async def look(self, batch_id: UUID) -> BatchStatus | None:
        """Return the batch's status as it is now; None if the database has no such batch."""
        status = (await self.queue.get_batch_statuses([batch_id])).get(batch_id)
        if status is None:
            self.statuses.pop(batch_id, None)
        elif batch_id in self._wakes:
            self.statuses[batch_id] = status
        return status

    async def poll_forever(self) -> None:
        """Refresh all followed batches once a second, in one query, and all queues in another, until cancelled."""
        while True:
            await asyncio.sleep(min(POLL_SECONDS * 2.0 ** min(self._failures, 4), 10.0))
            try:
                await self._poll()
            except DatabaseError as error:
                self._failed(error)
            except Exception as error:
                _LOGGER.exception("polling a database failed")
                self._failed(error)

    async def _poll(self) -> None:
        wakes = dict(self._wakes)
        backlogs = self.backlogs.next_turn()
        if wakes or backlogs.thorough or self.obstacle is not None:
            await self.queue.check_version()
        if wakes:
            self.used_at = time.monotonic()
        resting = self._resting()
        if wakes or resting:
            statuses = await self.queue.get_batch_statuses([*wakes, *resting])
            self._changed(wakes, statuses)
            for batch_id, check in resting.items():
                if (status := statuses.get(batch_id)) is not None:
                    check(status)
        if wakes or backlogs.thorough or backlogs.busy:
            await self.queue.upkeep()
        await self.workers.refresh()
        await self.backlogs.refresh(backlogs)
        self._failures = 0
        if self.obstacle is not None:
            self.obstacle = None
            _wake_all(self._wakes)
        self.backlogs.wake()

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

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        before, self.obstacle = self.obstacle, unusable(error)
        if before is None or before.reason is not self.obstacle.reason:
            _LOGGER.warning("a database cannot be used: %s", error)
            _wake_all(self._wakes)
            self.backlogs.wake()


def unusable(error: Exception | str) -> Obstacle:
    """Return the obstacle that a database is which does not answer, or which refuses for a reason that stays."""
    if isinstance(error, DatabaseRefusedError):
        return Obstacle(Reason.DATABASE_REFUSED, f"the database refuses: {error}")
    return Obstacle(Reason.DATABASE_UNAVAILABLE, f"the database cannot be used now: {error}", passing=True)


def _wake_all(wakes: dict[UUID, Callable[[], None]]) -> None:
    for wake in list(wakes.values()):
        wake()
