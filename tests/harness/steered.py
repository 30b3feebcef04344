"""A worker that does nothing by itself: the test decides what it claims, how jobs end, and when it reports."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from hammerwork.backends.protocol import MAX_CLAIMS, Settled, WorkerRecord
from hammerwork.timing import LEASE_SECONDS, RECOVER_SECONDS
from hammerwork.working.claims import HeldClaim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork import JobQueue
    from hammerwork.backends.protocol import Heard
    from tests.harness.observing import Sql


class SteeredWorker:
    """One worker at the backend's protocol, with the books that real workers keep."""

    def __init__(self, queue: JobQueue, queue_name: str = "q") -> None:
        self.id = uuid.uuid4()
        self.queue = queue
        self.queue_name = queue_name

    async def register(self, *, instance: str = "", lease_seconds: float = LEASE_SECONDS) -> None:
        await self.heartbeat([], instance=instance, lease_seconds=lease_seconds)

    async def heartbeat(
        self, held: Iterable[HeldClaim], *, instance: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> Heard:
        """Show that the worker lives and holds these claims."""
        record = WorkerRecord(
            id=self.id, queue=self.queue_name, pool="", instance=instance, lanes=1, lease_seconds=lease_seconds
        )
        line = await self.queue.backend.lifeline(self.queue_name, lambda: None)
        try:
            heard = await line.heartbeat(record, None, [claim.claim.id for claim in held])
            if instance:
                await line.replace(self.id, instance)
        finally:
            await line.close()
        return heard

    async def recover(self, held: Iterable[HeldClaim]) -> int:
        """Have those claims given back that never arrived here; return the number of jobs."""
        line = await self.queue.backend.lifeline(self.queue_name, lambda: None)
        try:
            ids = [claim.claim.id for claim in held]
            return await line.recover(self.id, ids, older_than=RECOVER_SECONDS)
        finally:
            await line.close()

    async def claim(self, limit: int = 1_000) -> HeldClaim | None:
        claims = await self.claims(limit, claims=1)
        return claims[0] if claims else None

    async def claims(self, limit: int = 1_000, *, claims: int = MAX_CLAIMS) -> list[HeldClaim]:
        exchange = await self.queue.backend.exchange(self.id, self.queue_name, [], limit, claims=claims)
        return [HeldClaim(claim) for claim in exchange.claims]

    async def take(self, limit: int = 1_000) -> HeldClaim:
        """Claim where there must be something to claim."""
        held = await self.claim(limit)
        assert held is not None, "nothing to claim"
        return held

    async def begin(self, held: HeldClaim) -> None:
        """Let the queue know that a job begins that may kill its worker."""
        assert await self.queue.backend.begin(self.id, held.claim.id)

    async def report(self, *helds: HeldClaim) -> Settled:
        """Report what is known of claims; return the answer to the first one's report."""
        reports = [held.report() for held in helds]
        settled = (await self.queue.backend.exchange(self.id, self.queue_name, reports, 0)).settled
        for held in helds:
            if settled[held.claim.id] is not Settled.LOST:
                held.confirm()
        return settled[helds[0].claim.id]

    async def end(self, held: HeldClaim, *, failing: Iterable[int] = (), error: BaseException | None = None) -> Settled:
        """Run all jobs of a claim that have not started: those with an index in `failing` fail, the others complete."""
        failing = set(failing)
        while held.waiting:
            offset = held.start()
            if held.claim.indexes[offset] in failing:
                held.fail(offset, error or ValueError("no"))
            else:
                held.complete(offset)
        return await self.report(held)

    async def vanish(self, sql: Sql) -> None:
        """Be as a process that died so long ago that its lease is over."""
        await sql.age_worker(self.id)


def run_of(held: HeldClaim) -> list[int]:
    """Indexes of the jobs of a claim."""
    return list(held.claim.indexes)
