"""A worker that does nothing by itself: the test decides what it claims, how jobs end, and when it reports."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from hammerwork.backends.protocol import Settled, WorkerRecord
from hammerwork.claims import HeldClaim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork import JobQueue
    from tests.database.observing import Sql


class SteeredWorker:
    """One worker at the backend's protocol, with the books that real workers keep."""

    def __init__(self, queue: JobQueue, queue_name: str = "q") -> None:
        self.id = uuid.uuid4()
        self.queue = queue
        self.queue_name = queue_name

    async def register(self, *, instance: str = "") -> None:
        backend = self.queue.backend
        await backend.heartbeat(WorkerRecord(id=self.id, queue=self.queue_name, pool="", instance=instance, lanes=1))
        if instance:
            await backend.retire(self.id, instance=instance)

    async def claim(self, limit: int = 1_000) -> HeldClaim | None:
        exchange = await self.queue.backend.exchange(self.id, self.queue_name, None, limit)
        return HeldClaim(exchange.claim) if exchange.claim is not None else None

    async def take(self, limit: int = 1_000) -> HeldClaim:
        """Claim where there must be something to claim."""
        held = await self.claim(limit)
        assert held is not None, "nothing to claim"
        return held

    async def report(self, held: HeldClaim) -> Settled:
        settled = (await self.queue.backend.exchange(self.id, self.queue_name, held.report(), 0)).settled
        assert settled is not None
        if settled is not Settled.LOST:
            held.confirm()
        return settled

    async def end(self, held: HeldClaim, *, failing: Iterable[int] = (), error: BaseException | None = None) -> Settled:
        """Run all jobs of a claim that have not started: those with an index in `failing` fail, the others complete."""
        failing = set(failing)
        while held.waiting:
            offset = held.start()
            if held.claim.lo + offset in failing:
                held.fail(offset, error or ValueError("no"))
            else:
                held.complete(offset)
        return await self.report(held)

    async def vanish(self, sql: Sql) -> None:
        """Be as a process that died so long ago that its lease is over."""
        await sql.age_worker(self.id)


def run_of(held: HeldClaim) -> list[int]:
    """Indexes of the jobs of a claim."""
    return list(range(held.claim.lo, held.claim.hi + 1))
