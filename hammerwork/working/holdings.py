"""What a worker holds: its claims, which of their jobs can start, and what there is to report. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from hammerwork.errors import PayloadMissingError

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from hammerwork.working.claims import HeldClaim

CLAIM_AHEAD_SECONDS = 0.5
"""A claim takes about as many jobs as the worker finishes in this time, so that slow jobs spread over all workers."""
PREFETCH_SECONDS = 0.05
"""The next claim is fetched when less work than this is left."""
MAX_CLAIM_JOBS = 4_000
"""In one exchange, whatever their number of claims."""


class Holdings:
    """The claims of one worker, between the pump that fetches and reports them and the lanes that run their jobs."""

    def __init__(self) -> None:
        self.claims: dict[int, HeldClaim] = {}
        self.startable: deque[HeldClaim] = deque()
        """Claims with jobs that may start now; lanes take from the first one."""
        self.news: deque[HeldClaim] = deque()
        """Claims with outcomes that are to be reported now."""
        self.changed = asyncio.Event()
        """Set when the pump should look again."""
        self._suspect: HeldClaim | None = None
        """A job that may kill its worker, until it is the only one and the queue knows that it begins."""
        self._failing: set[HeldClaim] = set()
        """Claims of FailFast batches with a failure that the queue has not heard of yet."""
        self._idle: deque[asyncio.Future[None]] = deque()

    async def work(self) -> None:
        """Return when there may be a job to start."""
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        self.changed.set()
        await idle

    def install(self, held: HeldClaim) -> None:
        """Let lanes have the jobs of a new claim. One that may kill its worker waits until it is the only one."""
        known = self.claims.get(held.claim.id)
        if known is not None:  # the database has lost its last commits and gives numbers away again
            self.lose(known)
        self.claims[held.claim.id] = held
        if any(failing.claim.batch_id == held.claim.batch_id for failing in self._failing):
            self._release(held)
            self.tell(held)
        elif len(held.claim.payloads) != held.size:
            fault = PayloadMissingError(
                f"{len(held.claim.payloads)} payloads can be read for the {held.size} jobs of claim {held.claim.id}"
            )
            while held.waiting:
                held.fail(held.start(), fault)
            self.tell(held)
        elif held.claim.alone:
            self._suspect = held
        else:
            self._offer(held)

    def refuse(self, held: HeldClaim) -> None:
        """Give a claim back as a whole that has just arrived."""
        self.claims[held.claim.id] = held
        self._release(held)
        self.tell(held)

    @property
    def suspect(self) -> HeldClaim | None:
        """The job that may kill its worker, once it is the only one here."""
        return self._suspect if len(self.claims) == 1 else None

    def start_suspect(self) -> None:
        """Let a lane have it."""
        suspect, self._suspect = self._suspect, None
        if suspect is not None:
            self._offer(suspect)

    def lose(self, held: HeldClaim) -> None:
        """Forget a claim that is not this worker's any more; outcomes of jobs that run are dropped."""
        held.lost = True
        self.drop(held)

    def _offer(self, held: HeldClaim) -> None:
        self.startable.append(held)
        for _ in range(min(held.waiting, len(self._idle))):
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)

    def start_all(self) -> tuple[HeldClaim, list[int]]:
        """Start all jobs of the first startable claim."""
        held = self.startable.popleft()
        return held, [held.start() for _ in range(held.waiting)]

    def tell(self, held: HeldClaim) -> None:
        """Have the claim's outcomes reported; those of a lost claim are dropped."""
        if held.lost:
            return
        if held not in self.news:
            self.news.append(held)
        self.changed.set()

    def give_back(self, batch_ids: Collection[UUID] | None) -> None:
        """Release what has not started, of these batches or (None) of all."""
        for held in self.claims.values():
            if held.waiting and (batch_ids is None or held.claim.batch_id in batch_ids):
                self._release(held)
                self.tell(held)

    def fail_fast(self, held: HeldClaim) -> None:
        """Start nothing more of the batch until the failure is settled: that may end the batch or put a retry first."""
        self._failing.add(held)
        self.give_back({held.claim.batch_id})
        self.tell(held)

    def heard(self, held: HeldClaim) -> None:
        """Note that a report of the claim has arrived."""
        if not held.has_news():
            self._failing.discard(held)

    def drop(self, held: HeldClaim) -> None:
        """Forget a claim that has ended, or that this worker has lost."""
        self._release(held)
        self._failing.discard(held)
        if held in self.news:
            self.news.remove(held)
        if self.claims.get(held.claim.id) is held:
            del self.claims[held.claim.id]
        self.changed.set()

    def _release(self, held: HeldClaim) -> None:
        held.release_waiting()
        if held in self.startable:
            self.startable.remove(held)
        if held is self._suspect:
            self._suspect = None

    def seconds_ahead(self, lanes: int, average_seconds: float | None) -> float:
        """Return for how long the lanes would work on what waits here; see `wanted`."""
        return sum(held.waiting for held in self.startable) * (average_seconds or 0.0) / lanes

    def wanted(self, lanes: int, busy: int, average_seconds: float | None) -> int:
        """Return how many jobs the next claim should take; 0 for no claim now.

        Args:
            lanes: Jobs that the worker can run at a time.
            busy: Those that it runs.
            average_seconds: Duration of a job as seen lately; None when nothing is known.
        """
        if any(held.claim.alone for held in self.claims.values()):
            return 0
        waiting = sum(held.waiting for held in self.startable)
        free = lanes - busy
        rate = lanes / average_seconds if average_seconds else 0.0
        # Whole jobs only: with slow ones, nothing waits here that an idle worker could start. With fast ones, a full
        # exchange is under way while the jobs of the one before run.
        if waiting >= max(free, min(int(rate * PREFETCH_SECONDS), MAX_CLAIM_JOBS + 1)):
            return 0
        return min(MAX_CLAIM_JOBS, max(1, free - waiting, round(rate * CLAIM_AHEAD_SECONDS)))
