"""Reports outcomes and fetches claims, in one round trip where both are due."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from hammerwork.backends.protocol import Settled, Settlement
from hammerwork.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    HammerworkError,
    IncompatibleDatabaseError,
)
from hammerwork.timing import BACKOFF_SECONDS, EXCHANGE_SECONDS, IDLE_POLL_SECONDS, backoff
from hammerwork.working.claims import HeldClaim
from hammerwork.working.holdings import MAX_CLAIM_JOBS

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from hammerwork.backends.protocol import Backend, Exchange
    from hammerwork.working.holdings import Holdings

logger = logging.getLogger("hammerwork.worker")

BUSY_RETRY_SECONDS = 0.002
MAX_REPORTS = 100
"""In one exchange."""
MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of errors, in one exchange: with so much of them no further report is added. MySQL takes statements of 16 MiB."""
FEW_JOBS = 100
"""Of an exchange: to start them takes the lanes no time worth mentioning."""
_POLL_GROWTH = 1.5


class Pump:
    """Moves outcomes of `holdings` to the queue, and claims from there.

    Args:
        backend: The database.
        holdings: What the worker holds.
        worker_id: Who claims.
        queue_name: Where from.
        wanted: Returns how many jobs to claim now, 0 for none.
        notified: Returns whether the worker is told when jobs become ready; then nothing is polled for.
        poll_interval: Seconds between two looks while idle, else; grows to `IDLE_POLL_SECONDS` while there is nothing.
    """

    def __init__(
        self,
        backend: Backend,
        holdings: Holdings,
        *,
        worker_id: UUID,
        queue_name: str,
        wanted: Callable[[], int],
        notified: Callable[[], bool],
        poll_interval: float,
    ) -> None:
        self._backend = backend
        self._holdings = holdings
        self._worker_id = worker_id
        self._queue_name = queue_name
        self._wanted = wanted
        self._notified = notified
        self.poll_interval = poll_interval
        self._pause = poll_interval
        self._ask_at = 0.0
        self._woken = False
        """Whether jobs may have become ready since the last exchange was sent."""
        self._failures = 0
        self._most = FEW_JOBS
        """Jobs in a claim; doubled with each one, as the first jobs tell little of how long the others take, and halved
        after an answer that took too long."""
        self._one_by_one = False
        """After a refusal: to find the report that is refused."""
        self._doubts = False
        self._looks = False
        self.stopping = False

    def ask_now(self) -> None:
        """Look for work at once."""
        self._ask_at = 0.0
        self._woken = True
        self._pause = self.poll_interval
        self._holdings.changed.set()

    def doubt(self) -> None:
        """Have `run` find out whether the database takes reports still, although none may be due for long."""
        self._doubts = True
        self._holdings.changed.set()

    def look_for_stopped(self) -> None:
        """Learn of batches of which nothing more may start, though no report of them is due."""
        self._looks = True
        self._holdings.changed.set()

    async def run(self) -> None:
        """Work until stopped and nothing is held.

        Raises:
            IncompatibleDatabaseError: The database does not understand this version any more.
        """
        holdings = self._holdings
        while not (self.stopping and not holdings.claims):
            holdings.changed.clear()
            if self._doubts:
                await self._report_nothing()
            if self._looks:
                await self._look()
            if holdings.suspect is not None and not self.stopping:
                await self._begin_suspect(holdings.suspect)
            reports = self._reports()
            now = time.monotonic()
            wanted = 0 if self.stopping else min(self._wanted(), self._most)
            if not reports and (wanted == 0 or now < self._ask_at):
                await self._change(within=self._ask_at - now if wanted else None)
                continue
            await self._exchange(reports, wanted)

    def _reports(self) -> list[HeldClaim]:
        news = self._holdings.news
        reports: list[HeldClaim] = []
        size = 0
        while news and size < MAX_TEXT_BYTES and len(reports) < (1 if self._one_by_one else MAX_REPORTS):
            held = news.popleft()
            if held.has_news():
                reports.append(held)
                held.report()
                size += held.report_bytes
        return reports

    async def _exchange(self, reports: list[HeldClaim], wanted: int) -> None:
        sent = time.monotonic()
        self._woken = False
        try:
            answer = await self._backend.exchange(
                self._worker_id, self._queue_name, [held.report() for held in reports], wanted
            )
        except IncompatibleDatabaseError:
            raise  # nothing can be reported or given back
        except (DatabaseUnavailableError, DatabaseRefusedError) as error:
            self._keep(reports)
            if isinstance(error.__cause__, TimeoutError):
                self._most = max(1, min(self._most, wanted or self._most) // 2)
            await self._back_off(error)
            return
        except HammerworkError as error:
            self._refused(reports, error)
            await self._back_off(error)
            return
        self._failures = 0
        self._one_by_one = False
        for held in reports:
            self._settled(held, answer.settled.get(held.claim.id, Settled.LOST))
        late = time.monotonic() - sent > EXCHANGE_SECONDS
        if answer.claims and not late:
            self._most = min(MAX_CLAIM_JOBS, 2 * self._most)
        self._take(answer, wanted, late=late, asked_at=sent)
        if 0 < sum(len(claim.indexes) for claim in answer.claims) <= FEW_JOBS:
            await asyncio.sleep(0)  # they start before the next exchange is made

    def _take(self, answer: Exchange, wanted: int, *, late: bool, asked_at: float) -> None:
        for claim in answer.claims:
            held = HeldClaim(claim)
            if late or self.stopping:
                self._holdings.refuse(held)
            else:
                self._holdings.install(held)
        if answer.claims or answer.settled:  # where there was work there may be more soon
            self._pause = self.poll_interval
        if answer.claims:
            return
        if answer.busy:
            self._ask_at = asked_at + BUSY_RETRY_SECONDS
        elif self._woken:
            pass  # what became ready meanwhile may not be in this answer
        elif wanted and self._notified():
            self._ask_at = float("inf")
        elif wanted:
            self._ask_at = asked_at + self._pause
            self._pause = max(self.poll_interval, min(self._pause * _POLL_GROWTH, IDLE_POLL_SECONDS))

    async def _report_nothing(self) -> None:
        try:
            await self._backend.exchange(self._worker_id, self._queue_name, [Settlement(claim=0, open=0)], 0)
        except IncompatibleDatabaseError:
            raise
        except HammerworkError as error:
            self._holdings.changed.set()
            await self._back_off(error)
        else:
            self._doubts = False

    async def _look(self) -> None:
        self._looks = False
        waiting = {held.claim.batch_id for held in self._holdings.claims.values() if held.waiting}
        if not waiting or self._failures:
            return
        try:
            self._holdings.give_back(await self._backend.stopped_batches(waiting))
        except HammerworkError as error:
            logger.debug("stopped batches: %s", error)

    async def _begin_suspect(self, held: HeldClaim) -> None:
        """Let the queue know that a job begins that may kill this worker: only then is its end blamed on the job."""
        try:
            there = await self._backend.begin(self._worker_id, held.claim.id)
        except HammerworkError as error:
            self._holdings.changed.set()
            await self._back_off(error)
            return
        if held is not self._holdings.suspect:
            return  # it was given back meanwhile
        if there:
            self._holdings.start_suspect()
        else:
            self.lost(held)

    def lost(self, held: HeldClaim) -> None:
        """Forget a claim that the queue has given to somebody else."""
        claim = held.claim
        logger.warning(
            "claim %d of batch %s is lost: another worker has its jobs, or they were deleted", claim.id, claim.batch_id
        )
        self._holdings.lose(held)

    def _settled(self, held: HeldClaim, settled: Settled) -> None:
        if held.lost:
            return
        if settled is Settled.LOST:
            self.lost(held)
            return
        ended = held.confirm()
        self._holdings.heard(held)
        if ended:
            self._holdings.drop(held)
        if settled is Settled.STOPPED:
            self._holdings.give_back({held.claim.batch_id})
        if held.open == 0 and held.has_news():
            self._holdings.tell(held)

    def _keep(self, reports: list[HeldClaim]) -> None:
        news = self._holdings.news
        # One of them may have had news again meanwhile.
        news.extendleft(held for held in reversed(reports) if not held.lost and held not in news)

    def _refused(self, reports: list[HeldClaim], error: HammerworkError) -> None:
        """Find the report that the database does not take, and leave out of it what may be the reason."""
        self._keep(reports)
        if len(reports) > 1:
            self._one_by_one = True
        elif reports and not reports[0].simplify(str(error)) and self._failures >= len(BACKOFF_SECONDS):
            logger.error(
                "claim %d: the database refuses its report; its jobs are released: %s", reports[0].claim.id, error
            )
            self._holdings.lose(reports[0])

    async def _change(self, *, within: float | None) -> None:
        try:
            async with asyncio.timeout(within if within != float("inf") else None):
                await self._holdings.changed.wait()
        except TimeoutError:
            pass

    async def _back_off(self, error: HammerworkError) -> None:
        pause = backoff(self._failures)
        self._failures += 1
        logger.warning("claim and report failed: %s; retrying in %.1f s", error, pause)
        await asyncio.sleep(pause)
