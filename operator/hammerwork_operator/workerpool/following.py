"""Follows the queue of one pool in the database that the pool's Secret leads to, whatever is in the way meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hammerwork.errors import DatabaseError
from hammerwork_operator.databases.followed import unusable
from hammerwork_operator.databases.secrets import SecretProblemError
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.tasks import KeptTask
from hammerwork_operator.workerpool.queue_status import queue_fields
from hammerwork_operator.workerpool.scaling import Backlog, capacity

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork_operator.databases.followed import FollowedQueue
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.situation import Obstacle, Status
    from hammerwork_operator.metrics import Metrics
    from hammerwork_operator.workerpool.observed import ObservedPool

LOOK_SECONDS = 10.0
"""How often it is looked where the Secret leads to."""
RETRY_SECONDS = 3.0

_LOGGER = logging.getLogger(__name__)


class QueueFollower:
    """One pool's view of its queue. Its task waits for the Secret and for the database, so nobody else has to."""

    def __init__(self, databases: Databases, metrics: Metrics, pool: ObservedPool, wake: Callable[[], None]) -> None:
        """Begin. `wake` is called whenever there is news."""
        self._databases = databases
        self._pool = pool
        self._wake = wake
        self._database: FollowedQueue | None = None
        self._obstacle: Obstacle | None = None
        self._task = KeptTask("follower", f"follow {pool.namespace}/{pool.name}", self._look_forever, metrics)

    def serves(self, pool: ObservedPool) -> bool:
        """Return whether it follows what the pool needs."""
        return _followed(self._pool) == _followed(pool)

    @property
    def backlog(self) -> Backlog | Obstacle | None:
        """What the pool's workers are there for, or why that is not known; None before the first answer."""
        if self._database is None:
            return self._obstacle
        if self._database.obstacle is not None:
            return self._database.obstacle
        queue, backlogs = self._pool.spec.queue, self._database.backlogs
        depth = backlogs.depth(queue)
        if depth is None:
            return unusable("it has not answered for a while") if backlogs.knew(queue) else None
        return Backlog(
            depth=depth, share=backlogs.share(self._pool.uid, queue), job_seconds=backlogs.job_seconds(queue)
        )

    @property
    def fields(self) -> Status:
        """What the status says of the queue."""
        if self._database is None or self._database.obstacle is not None:
            return {}
        queue, backlogs = self._pool.spec.queue, self._database.backlogs
        return queue_fields(backlogs.depth(queue), backlogs.activity(queue))

    def stop(self) -> None:
        """End."""
        self._task.cancel()
        self._leave()

    async def _look_forever(self) -> None:
        while True:
            try:
                pause = await self._look()
            except Exception:
                _LOGGER.exception("WorkerPool %s/%s: following its queue failed", self._pool.namespace, self._pool.name)
                pause = LOOK_SECONDS
            await asyncio.sleep(pause)

    async def _look(self) -> float:
        before = (self._database, self._obstacle)
        try:
            database = await self._databases.database(self._pool.namespace, self._pool.spec.database_secret_ref)
        except SecretProblemError as error:
            self._leave()
            self._obstacle = error.obstacle
        except DatabaseError as error:
            self._leave()
            self._obstacle = unusable(error)
        except ApiError as error:
            if self._database is None:
                self._obstacle = unusable(error)
        else:
            self._enter(database)
        if (self._database, self._obstacle) != before:
            self._wake()
        return LOOK_SECONDS if self._database is not None else RETRY_SECONDS

    def _enter(self, database: FollowedQueue) -> None:
        if database is not self._database:
            self._leave()
            spec = self._pool.spec
            database.backlogs.follow(self._pool.uid, spec.queue, capacity(spec), self._wake)
            self._database = database
        self._obstacle = None

    def _leave(self) -> None:
        if self._database is not None:
            self._database.backlogs.unfollow(self._pool.uid, self._pool.spec.queue)
            self._database = None


def _followed(pool: ObservedPool) -> tuple[object, ...]:
    return pool.uid, pool.spec.database_secret_ref, pool.spec.queue, capacity(pool.spec)
