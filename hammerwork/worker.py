"""`Worker`: claims jobs of one queue, runs a handler on them in lanes, and reports how they ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hammerwork.backends.protocol import Settled, WorkerRecord
from hammerwork.claims import HeldClaim
from hammerwork.errors import DatabaseError
from hammerwork.holdings import Holdings
from hammerwork.lanes import Lanes, WorkerStats
from hammerwork.queue import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hammerwork.errors import HammerworkError
    from hammerwork.handlers import Handler
    from hammerwork.queue import JobQueue

logger = logging.getLogger("hammerwork.worker")

HEARTBEATS_PER_LEASE = 6
UPKEEP_SECONDS = 1.0
BUSY_RETRY_SECONDS = 0.002
_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Worker:
    """Runs the jobs of one queue.

    Args:
        queue: Where the jobs are.
        queue_name: The queue to take jobs of.
        handler: Async function, or plain function (run in a thread), that takes one `Job`. See `hammerwork.handlers`.
        pool: Name of the group that the worker belongs to, for statistics.
        instance: Identity of the place that the worker runs in, if only one process can be there at a time, such as the
            UID of a Pod: what an earlier process there held is free again as soon as this one starts.
        lease_seconds: A worker not heard of for this long is taken for dead. It must be the same for all workers of a
            database, and far above what the network and the server may take at their slowest.
    """

    def __init__(
        self,
        queue: JobQueue,
        queue_name: str,
        handler: Handler,
        *,
        pool: str = "",
        instance: str = "",
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        if lease_seconds <= 0:
            raise ValueError(f"worker of queue {queue_name!r}: lease of {lease_seconds} s: must be more than 0")
        self.id = uuid.uuid4()
        self.queue_name = queue_name
        self._backend = queue.backend
        self._handler = handler
        self._pool = pool
        self._instance = instance
        self._lease = lease_seconds
        self._heartbeat = lease_seconds / HEARTBEATS_PER_LEASE
        self._lane_count = 10
        self._poll_interval = 0.1
        self._batch_processing = True
        self._grace_period = 30.0
        self._holdings = Holdings()
        self._lanes: Lanes | None = None
        self._stopping = asyncio.Event()
        self._ask_at = 0.0
        self._stalled_at = -1
        """Jobs processed when all lanes were last seen not to get on."""
        self._heard_at = 0.0
        self._moved_at = time.monotonic()

    def with_concurrency(self, lanes: int) -> Self:
        """Run up to `lanes` jobs at a time (default 10)."""
        if lanes < 1:
            raise ValueError(f"worker of queue {self.queue_name!r}: concurrency {lanes}: must be at least 1")
        self._lane_count = lanes
        return self

    def with_poll_interval(self, seconds: float) -> Self:
        """Look for work at least this often while idle (default 0.1 s); notifications make it faster than that."""
        if seconds <= 0:
            raise ValueError(f"worker of queue {self.queue_name!r}: poll interval {seconds} s: must be more than 0")
        self._poll_interval = seconds
        return self

    def with_batch_processing_enabled(self, enabled: bool) -> Self:
        """Claim many jobs at a time (default), or one job a claim."""
        self._batch_processing = enabled
        return self

    def with_shutdown_grace_period(self, seconds: float) -> Self:
        """Let running jobs go on this long after `stop` (default 30 s); then they are given back."""
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
        """Whether the worker's loop has moved in the last 15 seconds."""
        return time.monotonic() - self._moved_at < 15

    @property
    def ready(self) -> bool:
        """Whether the database answered the last heartbeats."""
        return time.monotonic() - self._heard_at < 3 * self._heartbeat

    def stop(self) -> None:
        """Shut down: claim nothing more, give back what has not started, finish what runs. `run` returns then."""
        self._stopping.set()
        self._holdings.changed.set()

    async def run(self) -> None:
        """Work until `stop`. Trouble with the database is waited out, with growing pauses, for as long as it takes."""
        if self._stopping.is_set():
            return
        lanes = self._lanes = Lanes(self._handler, self._holdings, queue_name=self.queue_name, count=self._lane_count)
        pulse = asyncio.create_task(self._pulse())
        try:
            await self._until_available("register", self._register)
            await self._work(lanes)
        finally:
            pulse.cancel()

    async def _work(self, lanes: Lanes) -> None:
        lanes.start()
        pump = asyncio.create_task(self._pump(lanes))
        service = [asyncio.create_task(job) for job in (self._beat(), self._upkeep(lanes), self._listen())]
        stopped = asyncio.create_task(self._stopping.wait())
        tasks = [stopped, pump, *service, *lanes.tasks]
        try:
            # Nothing but stop() ends one of them; an error that does is a bug and must not go unseen.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._shut_down(lanes, pump)
        finally:
            lanes.cancel()
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            lanes.close()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end
        if not self._stopping.is_set():
            raise RuntimeError(f"worker of queue {self.queue_name!r}: the handler cancelled a task of the worker")

    async def _pump(self, lanes: Lanes) -> None:
        """Report outcomes and fetch claims, in one round trip where both are due, until stopped and nothing is held."""
        holdings = self._holdings
        failures = 0
        while not (self._stopping.is_set() and not holdings.claims):
            holdings.changed.clear()
            held = holdings.news.popleft() if holdings.news else None
            if held is not None and not held.has_news():
                continue
            now = time.monotonic()
            wanted = self._wanted(lanes)
            if held is None and (wanted == 0 or now < self._ask_at):
                await self._change(within=self._ask_at - now if wanted else None)
                continue
            report = held.report() if held is not None else None
            try:
                answer = await self._backend.exchange(self.id, self.queue_name, report, wanted)
            except DatabaseError as error:
                if held is not None:
                    holdings.news.appendleft(held)
                await self._pause("claim and report", error, failures)
                failures += 1
                continue
            failures = 0
            if held is not None:
                self._settled(held, answer.settled)
            if answer.claim is not None:
                holdings.install(HeldClaim(answer.claim))
                if self._stopping.is_set():
                    holdings.give_back(None)
            elif wanted:
                self._ask_at = now + (BUSY_RETRY_SECONDS if answer.busy else self._poll_interval)

    def _wanted(self, lanes: Lanes) -> int:
        if not self.ready:
            return 0  # the lease may be over, as after a pause of the process; what it claimed now would be taken away
        if self._stopping.is_set() or (lanes.stats.jobs_processed == self._stalled_at and lanes.busy == lanes.count):
            return 0
        wanted = self._holdings.wanted(self._lane_count, lanes.busy, lanes.average_seconds)
        return wanted if self._batch_processing else min(wanted, 1)

    async def _change(self, *, within: float | None) -> None:
        try:
            async with asyncio.timeout(within):
                await self._holdings.changed.wait()
        except TimeoutError:
            pass

    def _settled(self, held: HeldClaim, settled: Settled | None) -> None:
        claim = held.claim
        if settled is Settled.LOST:
            logger.warning("claim %d of batch %s: lost; its jobs went back to the queue", claim.id, claim.batch_id)
            held.lost = True
            self._holdings.drop(held)
            return
        ended = held.confirm()
        self._holdings.heard(held)
        if ended:
            self._holdings.drop(held)
        if settled is Settled.STOPPED:
            self._holdings.give_back({claim.batch_id})
        if held.open == 0 and held.has_news():
            self._holdings.tell(held)

    def _record(self) -> WorkerRecord:
        stats = self.get_batch_stats()
        return WorkerRecord(
            id=self.id,
            queue=self.queue_name,
            pool=self._pool,
            instance=self._instance,
            lanes=self._lane_count,
            processed=stats.jobs_processed,
            failed=stats.jobs_failed,
            busy_ms=round(stats.busy_seconds * 1000),
        )

    async def _register(self) -> None:
        await self._backend.heartbeat(self._record())
        if self._instance:
            await self._backend.retire(self.id, instance=self._instance)
        await self._backend.reap(self._lease)
        self._heard_at = time.monotonic()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat if self.ready else min(1.0, self._heartbeat))
            try:
                await self._backend.heartbeat(self._record())
                self._heard_at = time.monotonic()
                self._holdings.changed.set()
            except DatabaseError as error:
                logger.warning("heartbeat: %s", error)
                if time.monotonic() - self._heard_at > self._lease * 0.8:
                    # Others will soon take this worker for dead; what has not started here may start there.
                    self._holdings.give_back(None)

    async def _pulse(self) -> None:
        """Show that the event loop turns; the database has no part in that."""
        while True:
            self._moved_at = time.monotonic()
            await asyncio.sleep(1)

    async def _upkeep(self, lanes: Lanes) -> None:
        """Each second: report from long claims, learn of stopped batches, make due retries ready; now and then reap."""
        turn = 0
        processed = 0
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            turn += 1
            now = time.monotonic()
            for held in self._holdings.claims.values():
                if now - held.since >= UPKEEP_SECONDS and held.has_news():
                    self._holdings.tell(held)
            if processed == lanes.stats.jobs_processed and lanes.busy == lanes.count:
                # Jobs take longer than they did when these were fetched; others may be idle.
                self._stalled_at = processed
                self._holdings.give_back(None)
            processed = lanes.stats.jobs_processed
            waiting = {held.claim.batch_id for held in self._holdings.claims.values() if held.waiting}
            try:
                if waiting:
                    self._holdings.give_back(await self._backend.stopped_batches(waiting))
                await self._backend.tick(self.queue_name)
                if turn % max(1, round(self._heartbeat)) == 0:
                    await self._backend.reap(self._lease)
            except DatabaseError as error:
                logger.debug("upkeep: %s", error)

    async def _listen(self) -> None:
        """Be woken as soon as jobs are there. Without it (no such connection, a pooler in between) polling goes on."""
        failures = 0
        while True:
            broken = asyncio.Event()

            def wake(queue: str, broken: asyncio.Event = broken) -> None:
                if not queue:
                    broken.set()
                elif queue == self.queue_name:
                    self._ask_at = 0.0
                    self._holdings.changed.set()

            try:
                end = await self._backend.listen(wake)
            except DatabaseError as error:
                await self._pause("listen", error, failures)
                failures += 1
                continue
            failures = 0
            try:
                await broken.wait()
            finally:
                await end()

    async def _shut_down(self, lanes: Lanes, pump: asyncio.Task[None]) -> None:
        logger.info("queue %s: shutting down, %d jobs are running", self.queue_name, lanes.busy)
        self._holdings.give_back(None)
        self._holdings.changed.set()
        await asyncio.wait([pump], timeout=self._grace_period)
        if not pump.done():
            lanes.cancel()
            await asyncio.wait(lanes.tasks)
            for held in self._holdings.claims.values():
                self._holdings.tell(held)
            await asyncio.wait([pump], timeout=5)
        try:
            await self._backend.heartbeat(self._record())
            await self._backend.retire(self.id)
        except DatabaseError as error:
            logger.warning("could not sign off, the lease will end by itself: %s", error)

    async def _until_available(self, what: str, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                return await operation()
            except DatabaseError as error:
                await self._pause(what, error, failures)
                failures += 1
        return None

    async def _pause(self, what: str, error: HammerworkError, failures: int) -> None:
        pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        logger.warning("%s: %s; again in %.1f s", what, error, pause)
        await asyncio.sleep(pause)


class WorkerPool:
    """Several workers in one process."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def add_worker(self, worker: Worker) -> Self:
        """Add a worker; before `start`."""
        self._workers.append(worker)
        return self

    async def start(self) -> None:
        """Run all workers until `stop`."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run())

    def stop(self) -> None:
        """Shut all workers down; `start` returns once they have finished."""
        for worker in self._workers:
            worker.stop()
