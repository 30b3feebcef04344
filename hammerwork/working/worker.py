"""`Worker`: claims jobs of one queue, runs a handler on them in lanes, and reports how they ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Self

import msgspec

from hammerwork.backends.protocol import WorkerRecord
from hammerwork.handlers.functions import check_handler
from hammerwork.handlers.lifetime import held_open
from hammerwork.reports import WorkerStats
from hammerwork.timing import (
    GIVE_BACK_SHARE,
    LAST_REPORTS_SECONDS,
    READY_HEARTBEATS,
    STUCK_BUSY_SECONDS,
    STUCK_SECONDS,
)
from hammerwork.working.holdings import CLAIM_AHEAD_SECONDS, Holdings
from hammerwork.working.lanes import Lanes
from hammerwork.working.pulse import Pulse
from hammerwork.working.pump import Pump
from hammerwork.working.settings import DEFAULTS

if TYPE_CHECKING:
    from hammerwork.backends.protocol import Heard
    from hammerwork.errors import IncompatibleDatabaseError
    from hammerwork.handlers.functions import Handler
    from hammerwork.queue import JobQueue
    from hammerwork.working.settings import WorkerSettings

logger = logging.getLogger("hammerwork.worker")


class Worker:
    """Runs the jobs of one queue. What is not set has the default that `WorkerSettings` tells.

    Args:
        queue: Where the jobs are.
        queue_name: The queue to take jobs of.
        handler: Async function, or plain function (run in a thread), that takes one `Job`. See `hammerwork.handlers`.
            One that is an async context manager is entered before the first job and left after the last.
        pool: Name of the group that the worker belongs to, for statistics.
        instance: Identity of the place that the worker runs in, if only one process can be there at a time, such as the
            UID of a Pod: what an earlier process there held is free again as soon as this one starts.
        lease_seconds: This worker is taken for dead when it is not heard of for this long while others are. It should
            be far above what the network and the server may take at their slowest.
    """

    def __init__(
        self,
        queue: JobQueue,
        queue_name: str,
        handler: Handler,
        *,
        pool: str = "",
        instance: str = "",
        lease_seconds: float = DEFAULTS.lease_seconds,
    ) -> None:
        if lease_seconds <= 0:
            raise ValueError(f"worker of queue {queue_name!r}: lease of {lease_seconds} s: must be more than 0")
        check_handler(handler)
        self.id = uuid.uuid4()
        self.queue_name = queue_name
        self._handler = handler
        self._pool = pool
        self._instance = instance
        self._lease = lease_seconds
        self._lane_count = DEFAULTS.concurrency
        self._batch_processing = DEFAULTS.batch_processing
        self._grace_period = DEFAULTS.shutdown_grace_period_seconds
        self._holdings = Holdings()
        self._lanes: Lanes | None = None
        self._stopping = asyncio.Event()
        self._outdated: IncompatibleDatabaseError | None = None
        """Why it has stopped by itself."""
        self._stalled_at = -1
        """Jobs processed when all lanes were last seen stuck."""
        self._moved_at = time.monotonic()
        self._pump = Pump(
            queue.backend,
            self._holdings,
            worker_id=self.id,
            queue_name=queue_name,
            wanted=self._wanted,
            notified=lambda: self._pulse.notified,
            poll_interval=DEFAULTS.poll_interval_seconds,
        )
        self._pulse = Pulse(
            queue.backend,
            record=self._record,
            held=lambda: list(self._holdings.claims),
            heard=self._heard,
            wake=self._pump.ask_now,
            outdated=self._outdate,
        )

    @classmethod
    def from_settings(cls, queue: JobQueue, settings: WorkerSettings, handler: Handler) -> Self:
        """Return the worker that `settings` describe."""
        worker = cls(
            queue,
            settings.queue,
            handler,
            pool=settings.pool,
            instance=settings.instance,
            lease_seconds=settings.lease_seconds,
        )
        return (
            worker.with_concurrency(settings.concurrency)
            .with_poll_interval(settings.poll_interval_seconds)
            .with_batch_processing_enabled(settings.batch_processing)
            .with_shutdown_grace_period(settings.shutdown_grace_period_seconds)
        )

    def with_concurrency(self, lanes: int) -> Self:
        """Run up to `lanes` jobs at a time."""
        if lanes < 1:
            raise ValueError(f"worker of queue {self.queue_name!r}: concurrency {lanes}: must be at least 1")
        self._lane_count = lanes
        return self

    def with_poll_interval(self, seconds: float) -> Self:
        """Look for work this often while idle, where the database does not notify of new jobs.

        Without work the interval grows, to a second at most, or stays as it is if it is longer than that.
        """
        if seconds <= 0:
            raise ValueError(f"worker of queue {self.queue_name!r}: poll interval {seconds} s: must be more than 0")
        self._pump.poll_interval = seconds
        return self

    def with_batch_processing_enabled(self, enabled: bool) -> Self:
        """Claim many jobs at a time (default), or one job a claim."""
        self._batch_processing = enabled
        return self

    def with_shutdown_grace_period(self, seconds: float) -> Self:
        """Let running jobs go on this long after `stop`; then they are given back."""
        self._grace_period = seconds
        return self

    def get_batch_stats(self) -> WorkerStats:
        """Return what this worker has done so far."""
        return msgspec.structs.replace(self._lanes.stats) if self._lanes is not None else WorkerStats()

    @property
    def busy_lanes(self) -> int:
        """Lanes that run a job right now."""
        return self._lanes.busy if self._lanes is not None else 0

    @property
    def healthy(self) -> bool:
        """Whether the worker can go on: its loop turns (a handler may hold it for ten minutes) and threads are left."""
        if self._lanes is not None and self._lanes.stuck:
            return False
        patience = STUCK_BUSY_SECONDS if self.busy_lanes else STUCK_SECONDS
        return time.monotonic() - self._moved_at < patience

    @property
    def ready(self) -> bool:
        """Whether the database answered the last heartbeats."""
        return time.monotonic() - self._pulse.heard_at < READY_HEARTBEATS * self._pulse.interval

    def stop(self) -> None:
        """Shut down: claim nothing more, give back what has not started, finish what runs. `run` returns then."""
        self._stopping.set()
        self._holdings.changed.set()

    async def run(self) -> None:
        """Work until `stop`. Trouble with the database is waited out, with growing pauses, for as long as it takes.

        Cancelled, it cuts running jobs short, gives back all it holds, and deregisters, within a few seconds.

        Raises:
            IncompatibleDatabaseError: Only newer versions may work on the database any more. The worker has stopped as
                after `stop`; if the database takes nothing from it, running jobs are cut short, and the lease ends.
        """
        if self._stopping.is_set():
            return
        lanes = self._lanes = Lanes(self._handler, self._holdings, queue_name=self.queue_name, count=self._lane_count)
        self._pulse.start()
        try:
            async with held_open(self._handler):
                await self._work(lanes)
        finally:
            await self._pulse.stop()

    async def _work(self, lanes: Lanes) -> None:
        lanes.start()
        pump = asyncio.create_task(self._pump.run())
        stopped = asyncio.create_task(self._stopping.wait())
        service = [asyncio.create_task(job) for job in (self._upkeep(lanes), self._turn())]
        tasks = [stopped, pump, *service, *lanes.tasks]
        try:
            # Nothing but stop() or a database that is too new ends one of them; any other error is a bug to be seen.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._shut_down(lanes, pump, grace_period=self._grace_period)
        except asyncio.CancelledError:
            await self._shut_down(lanes, pump, grace_period=0)
            raise
        finally:
            lanes.cancel()
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            lanes.close()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end
        if self._outdated is not None:
            raise self._outdated
        if not self._stopping.is_set():
            raise RuntimeError(f"worker of queue {self.queue_name!r}: the handler cancelled a task of the worker")

    def _wanted(self) -> int:
        lanes = self._lanes
        if lanes is None or not self.ready:
            return 0  # the lease may be over, as after a pause of the process; what it claimed now would be taken away
        if lanes.stats.jobs_processed == self._stalled_at and lanes.busy == lanes.count:
            return 0
        wanted = self._holdings.wanted(self._lane_count, lanes.busy, lanes.average_seconds)
        return wanted if self._batch_processing else min(wanted, 1)

    def _record(self) -> WorkerRecord:
        stats = self.get_batch_stats()
        return WorkerRecord(
            id=self.id,
            queue=self.queue_name,
            pool=self._pool,
            instance=self._instance,
            lanes=self._lane_count,
            lease_seconds=self._lease,
            processed=stats.jobs_processed,
            failed=stats.jobs_failed,
            busy_ms=round(stats.busy_seconds * 1000),
        )

    def _heard(self, heard: Heard) -> None:
        for claim_id in heard.unknown:
            held = self._holdings.claims.get(claim_id)
            if held is not None and held.open:  # else only the answer to its last report is on its way
                self._pump.lost(held)
        if heard.ready:
            self._pump.ask_now()
        self._holdings.changed.set()

    def _outdate(self, error: IncompatibleDatabaseError) -> None:
        logger.warning("queue %s: this worker stops: %s", self.queue_name, error)
        self._outdated = error
        self._pump.doubt()
        self.stop()

    async def _turn(self) -> None:
        """Show that the event loop turns; the database has no part in that."""
        while True:
            self._moved_at = time.monotonic()
            await asyncio.sleep(1)

    async def _upkeep(self, lanes: Lanes) -> None:
        """Each second: report from long claims, give back what others could start sooner, learn of stopped batches."""
        processed = 0
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            for held in self._holdings.claims.values():
                if now - held.since >= 1 and held.has_news():
                    self._holdings.tell(held)
            if processed == lanes.stats.jobs_processed and lanes.busy == lanes.count:
                # Jobs take longer than they did when these were fetched; others may be idle.
                self._stalled_at = processed
                self._holdings.give_back(None)
            elif self._holdings.seconds_ahead(self._lane_count, lanes.average_seconds) > 2 * CLAIM_AHEAD_SECONDS:
                self._holdings.give_back(None)
            processed = lanes.stats.jobs_processed
            if now - self._pulse.heard_at > self._lease * GIVE_BACK_SHARE:
                # Others will soon take this worker for dead; what has not started here may start there.
                self._holdings.give_back(None)
            self._pump.look_for_stopped()

    async def _shut_down(self, lanes: Lanes, pump: asyncio.Task[None], *, grace_period: float) -> None:
        logger.info("queue %s: shutting down, %d jobs are running", self.queue_name, lanes.busy)
        self._pump.stopping = True
        self._holdings.give_back(None)
        self._holdings.changed.set()
        if grace_period:
            await asyncio.wait([pump], timeout=grace_period)
        if not pump.done():
            lanes.cancel()
            await asyncio.wait(lanes.tasks)
            for held in self._holdings.claims.values():
                self._holdings.tell(held)
            self._holdings.changed.set()
            await asyncio.wait([pump], timeout=LAST_REPORTS_SECONDS)
