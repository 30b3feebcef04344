"""The backlogs of the queues that pools serve: one query a second for all of them, whatever their number."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from hammerwork import QueueDepth

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from hammerwork import JobQueue, QueueActivity

STALE_SECONDS = 10.0
"""What was learned longer ago than this is not known any more."""
THOROUGH_TURNS = 5
"""In every so many turns all is asked; in the others what changes quickly."""
COST_FACTOR = 10.0
"""Where the query is slow, as with very many live batches, it takes at most an eleventh of the time."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done at a database for the sake of its backlogs."""

    due: bool
    thorough: bool
    """Ask also what the workers did, whether this version may work there, and for the upkeep."""
    busy: bool
    """There are jobs that need the upkeep: retries that become due, workers that may be lost."""


class Backlogs:
    """The backlogs of one database. They are not refreshed by themselves."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._followers: dict[str, dict[Hashable, tuple[int, Callable[[], None]]]] = defaultdict(dict)
        self._depths: Mapping[str, QueueDepth] = {}
        self._activities: Mapping[str, QueueActivity] = {}
        self._job_seconds: dict[str, float] = {}
        self._asked_at = float("-inf")
        self._due_at = float("-inf")
        self._turns = 0

    def follow(self, follower: Hashable, queue: str, capacity: int, wake: Callable[[], None]) -> None:
        """Keep the backlog of a queue fresh, and call `wake` after each turn, or when the database fails.

        `capacity` is how many jobs the follower runs at a time at most: its part of the queue's jobs follows from it.
        """
        if queue not in self._followers:
            self._due_at, self._turns = float("-inf"), 0
        self._followers[queue][follower] = (capacity, wake)

    def unfollow(self, follower: Hashable, queue: str) -> None:
        """Forget the follower."""
        followers = self._followers.get(queue, {})
        followers.pop(follower, None)
        if not followers:
            self._followers.pop(queue, None)
            self._job_seconds.pop(queue, None)

    @property
    def followed(self) -> bool:
        """Whether anybody follows a queue."""
        return bool(self._followers)

    def share(self, follower: Hashable, queue: str) -> float:
        """Return the part of the queue's jobs that is the follower's: in proportion to what all can run at a time."""
        followers = self._followers.get(queue, {})
        total = sum(capacity for capacity, _ in followers.values())
        return followers[follower][0] / total if total and follower in followers else 1.0

    def depth(self, queue: str) -> QueueDepth | None:
        """Return the backlog of a followed queue; None if it is not known."""
        stale = time.monotonic() - max(self._asked_at, self._due_at) > STALE_SECONDS
        return None if stale else self._depths.get(queue)

    def knew(self, queue: str) -> bool:
        """Return whether the backlog of the queue has been known before."""
        return queue in self._depths

    def activity(self, queue: str) -> QueueActivity | None:
        """Return what the workers of the queue did within the last hour; None if nothing, or if it is not known."""
        return self._activities.get(queue)

    def job_seconds(self, queue: str) -> float | None:
        """Return the mean duration of a job within the last hour in which any ended; None if it is not known."""
        return self._job_seconds.get(queue)

    def next_turn(self) -> Turn:
        """Return what is to be done now."""
        if not self._followers or time.monotonic() < self._due_at:
            return Turn(due=False, thorough=False, busy=False)
        busy = any(depth.running or depth.scheduled for depth in self._depths.values())
        return Turn(due=True, thorough=self._turns % THOROUGH_TURNS == 0, busy=busy)

    async def refresh(self, turn: Turn) -> None:
        """Ask the database.

        Raises:
            DatabaseError: It does not answer, or it refuses.
        """
        if not turn.due:
            return
        queues = list(self._followers)
        started = time.monotonic()
        depths = await self._queue.get_queue_depths()
        if turn.thorough:
            self._activities = await self._queue.get_queue_activities(queues)
            for name, activity in self._activities.items():
                if activity.total_processed:
                    self._job_seconds[name] = activity.average_processing_time_ms / 1_000
        self._depths = {name: depths.get(name) or QueueDepth.none(name) for name in queues}
        self._turns += 1
        self._asked_at = time.monotonic()
        self._due_at = started + COST_FACTOR * (self._asked_at - started)

    def wake(self) -> None:
        """Tell everybody that there is news, or none to be had."""
        for followers in list(self._followers.values()):
            for _, wake in list(followers.values()):
                wake()
