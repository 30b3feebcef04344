"""Which queues have registered workers: one query every few seconds for all of them, and none where nobody asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hammerwork import JobQueue

LOOK_SECONDS = 5.0


class RegisteredWorkers:
    """The queues of one database that workers are registered for. They are not refreshed by themselves."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._followers: dict[Hashable, tuple[str, Callable[[], None]]] = {}
        self._known: dict[str, bool] = {}
        self._asked_at = float("-inf")

    def follow(self, follower: Hashable, queue: str, wake: Callable[[], None]) -> None:
        """Keep known whether the queue has workers, and call `wake` whenever that changes."""
        self._followers[follower] = (queue, wake)

    def unfollow(self, follower: Hashable) -> None:
        """Forget the follower."""
        self._followers.pop(follower, None)

    def work_on(self, queue: str) -> bool | None:
        """Return whether a followed queue has workers; None if it is not known yet."""
        return self._known.get(queue)

    async def refresh(self) -> None:
        """Ask the database, if it is time to.

        Raises:
            DatabaseError: It does not answer, or it refuses.
        """
        wanted = {queue for queue, _ in self._followers.values()}
        if not wanted:
            self._known = {}
            return
        if wanted <= self._known.keys() and time.monotonic() - self._asked_at < LOOK_SECONDS:
            return
        worked_on = {worker.queue for worker in await self._queue.get_workers()}
        before, self._known = self._known, {queue: queue in worked_on for queue in wanted}
        self._asked_at = time.monotonic()
        for queue, wake in list(self._followers.values()):
            if queue in wanted and self._known[queue] != before.get(queue):
                wake()
