"""`Worker`: claims jobs of one queue, runs a handler on them in lanes, and reports how they ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hammerwork.backends.protocol import Settled, WorkerRecord
from hammerwork.batch import Job
from hammerwork.claims import HeldClaim
from hammerwork.errors import DatabaseUnavailableError, HammerworkError, JobTimeoutError
from hammerwork.handlers import is_async
from hammerwork.queue import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from uuid import UUID

    from hammerwork.handlers import Handler
    from hammerwork.queue import JobQueue

logger = logging.getLogger("hammerwork.worker")

HEARTBEAT_SECONDS = 5.0
UPKEEP_SECONDS = 1.0
CLAIM_AHEAD_SECONDS = 0.5
"""A claim takes about as many jobs as the worker finishes in this time."""
PREFETCH_SECONDS = 0.05
"""The next claim is fetched when less work than this is left."""
SLICE_SECONDS = 0.001
"""Handlers that never wait must let the event loop turn this often, so that the next claim is fetched meanwhile."""
BUSY_RETRY_SECONDS = 0.002
MAX_CLAIM_JOBS = 1_000
_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class WorkerStats(msgspec.Struct):
    """What a worker has done since it started. It counts attempts: a job that was retried counts more than once."""

    jobs_processed: int = 0
    jobs_completed: int = 0
    jobs_failed: int = 0
    """Attempts that failed, those that are tried again included."""
    busy_seconds: float = 0.0
    """Time spent in the handler, added up over all lanes."""

    @property
    def average_processing_time_ms(self) -> float:
        """Mean duration of an attempt in milliseconds; 0 before the first one has ended."""
        return self.busy_seconds * 1000 / self.jobs_processed if self.jobs_processed else 0.0

    def success_rate(self) -> float:
        """Completed ÷ processed, from 0 to 1; 1 while nothing has been processed."""
        return self.jobs_completed / self.jobs_processed if self.jobs_processed else 1.0


class Worker:
    """Runs the jobs of one queue.

    Args:
        queue: Where the jobs are.
        queue_name: The queue to take jobs of.
        handler: Async function, or plain function (run in a thread), that takes one `Job`. See `hammerwork.handlers`.
        pool: Name of the group that the worker belongs to, for statistics.
        instance: Identity of the place that the worker runs in, if only one process can be there at a time, such as the
            UID of a Pod: what an earlier process there held is free again as soon as this one starts.
    """

    def __init__(
        self, queue: JobQueue, queue_name: str, handler: Handler, *, pool: str = "", instance: str = ""
    ) -> None:
        self.id = uuid.uuid4()
        self.queue_name = queue_name
        self._backend = queue.backend
        self._handler = handler
        self._pool = pool
        self._instance = instance
        self._lane_count = 10
        self._poll_interval = 0.1
        self._batch_processing = True
        self._grace_period = 30.0
        self._stats = WorkerStats()
        self._held: dict[int, HeldClaim] = {}
        self._startable: deque[HeldClaim] = deque()
        self._alone: HeldClaim | None = None
        self._busy = 0
        self._idle_lanes: deque[asyncio.Future[None]] = deque()
        self._average_seconds: float | None = None
        self._batch_size = 0
        self._news: deque[HeldClaim] = deque()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ask_at = 0.0
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
        return msgspec.structs.replace(self._stats)

    @property
    def busy_lanes(self) -> int:
        """Lanes that run a job right now."""
        return self._busy

    @property
    def healthy(self) -> bool:
        """Whether the worker's loop has moved in the last 15 seconds."""
        return time.monotonic() - self._moved_at < 15

    @property
    def ready(self) -> bool:
        """Whether the database answered the last heartbeats."""
        return time.monotonic() - self._heard_at < 3 * HEARTBEAT_SECONDS

    def stop(self) -> None:
        """Shut down: claim nothing more, give back what has not started, finish what runs. `run` returns then."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. Trouble with the database is waited out, with growing pauses, for as long as it takes."""
        if self._stopping.is_set():
            return
        executor = None if is_async(self._handler) else ThreadPoolExecutor(self._lane_count, "hammerwork")
        call = self._handler if executor is None else self._in_thread(executor)
        await self._until_available("register", self._register)
        lanes = [asyncio.create_task(self._lane(call)) for _ in range(self._lane_count)]
        service = [asyncio.create_task(job) for job in (self._beat(), self._upkeep(), self._listen())]
        pump = asyncio.create_task(self._pump())
        try:
            # Nothing but stop() ends the pump; an error in it, or in a lane, is a bug and must not go unseen.
            stopped = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([stopped, pump, *lanes, *service], return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down(lanes, pump)
        finally:
            stopped.cancel()
            for task in (*lanes, *service, pump):
                task.cancel()
            ends = await asyncio.gather(*lanes, *service, pump, return_exceptions=True)
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    # -- lanes

    async def _lane(self, call: Callable[[Job], Awaitable[Any]]) -> None:
        clock = time.perf_counter
        sliced_at = clock()
        while True:
            if not self._startable:
                idle = asyncio.get_running_loop().create_future()
                self._idle_lanes.append(idle)
                self._wake.set()
                await idle
                sliced_at = clock()
                continue
            held = self._startable[0]
            offset = held.start()
            if not held.waiting:
                self._startable.popleft()
            claim = held.claim
            job = Job(
                self.queue_name,
                claim.payloads[offset],
                claim.priority,
                claim.batch_id,
                claim.lo + offset,
                claim.attempt,
                claim.max_attempts,
            )
            self._busy += 1
            started = clock()
            try:
                if claim.timeout_seconds is None:
                    await call(job)
                else:
                    await _timed(call(job), claim.timeout_seconds)
            except BaseException as error:
                if _ends_lane(error):
                    held.release(offset)
                    self._busy -= 1
                    raise
                self._note_failure(held, offset, job, error)
            else:
                held.complete(offset)
                self._stats.jobs_completed += 1
            ended = clock()
            self._busy -= 1
            self._stats.jobs_processed += 1
            self._stats.busy_seconds += ended - started
            self._average_seconds = _moving_average(self._average_seconds, ended - started)
            if held.open == 0:
                self._tell(held)
            if ended - sliced_at > SLICE_SECONDS:
                await asyncio.sleep(0)
                sliced_at = clock()

    def _note_failure(self, held: HeldClaim, offset: int, job: Job, error: BaseException) -> None:
        final = held.fail(offset, error)
        self._stats.jobs_failed += 1
        logger.info(
            "job %s: attempt %d of %d failed%s: %s: %s",
            job.id,
            job.attempt,
            job.max_attempts,
            "" if final else ", will be tried again",
            type(error).__name__,
            error,
        )
        if final and held.claim.failure_mode.value == "FailFast":
            self._give_back({held.claim.batch_id})
            self._tell(held)

    def _in_thread(self, executor: ThreadPoolExecutor) -> Callable[[Job], Awaitable[Any]]:
        loop = asyncio.get_running_loop()

        async def call(job: Job) -> None:
            await loop.run_in_executor(executor, self._handler, job)

        return call

    # -- claims

    def _install(self, held: HeldClaim) -> None:
        """Let lanes have the jobs of a new claim. One that may kill its worker waits until it is the only one."""
        self._held[held.claim.id] = held
        self._batch_size = held.claim.batch_size
        if held.claim.alone and len(self._held) > 1:
            self._alone = held
        else:
            self._offer(held)

    def _offer(self, held: HeldClaim) -> None:
        self._startable.append(held)
        for _ in range(min(held.waiting, len(self._idle_lanes))):
            idle = self._idle_lanes.popleft()
            if not idle.done():
                idle.set_result(None)

    def _tell(self, held: HeldClaim) -> None:
        """Have the claim's outcomes reported."""
        if held not in self._news:
            self._news.append(held)
        self._wake.set()

    def _give_back(self, batch_ids: Collection[UUID] | None) -> None:
        """Release what has not started, of these batches or (None) of all."""
        for held in self._held.values():
            if held.waiting and (batch_ids is None or held.claim.batch_id in batch_ids):
                held.release_waiting()
                if held in self._startable:
                    self._startable.remove(held)
                if held is self._alone:
                    self._alone = None
                self._tell(held)

    def _drop(self, held: HeldClaim) -> None:
        del self._held[held.claim.id]
        if self._alone is not None and len(self._held) == 1:
            alone, self._alone = self._alone, None
            self._offer(alone)

    def _wanted(self) -> int:
        """How many jobs the next claim should take; 0 for no claim now."""
        if self._stopping.is_set() or any(held.claim.alone for held in self._held.values()):
            return 0
        waiting = sum(held.waiting for held in self._startable)
        free = self._lane_count - self._busy
        if not self._batch_processing:
            return 1 if waiting < free else 0
        rate = self._lane_count / self._average_seconds if self._average_seconds else 0.0
        ahead = max(free, min(rate * PREFETCH_SECONDS, 2 * self._batch_size))
        if waiting >= ahead:
            return 0
        return min(MAX_CLAIM_JOBS, max(1, free - waiting, round(rate * CLAIM_AHEAD_SECONDS)))

    async def _pump(self) -> None:
        """Report outcomes and fetch claims, in one round trip where both are due, until stopped and nothing is held."""
        failures = 0
        while not (self._stopping.is_set() and not self._held):
            self._wake.clear()
            held = self._news.popleft() if self._news else None
            if held is not None and not held.has_news():
                continue
            now = time.monotonic()
            wanted = self._wanted()
            if held is None and (wanted == 0 or now < self._ask_at):
                await self._sleep(self._ask_at - now if wanted else None)
                continue
            try:
                answer = await self._backend.exchange(
                    self.id, self.queue_name, held.report() if held is not None else None, wanted
                )
            except DatabaseUnavailableError as error:
                if held is not None:
                    self._news.appendleft(held)
                await self._pause("claim and report", error, failures)
                failures += 1
                continue
            failures = 0
            if held is not None:
                self._settled(held, answer.settled)
            if answer.claim is not None:
                self._install(HeldClaim(answer.claim))
            elif wanted:
                self._ask_at = now + (BUSY_RETRY_SECONDS if answer.busy else self._poll_interval)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _settled(self, held: HeldClaim, settled: Settled | None) -> None:
        if settled is Settled.LOST:
            logger.warning(
                "claim %d of batch %s: lost; its jobs went back to the queue", held.claim.id, held.claim.batch_id
            )
            held.release_waiting()
            if held in self._startable:
                self._startable.remove(held)
            self._drop(held)
            return
        if held.confirm():
            self._drop(held)
        elif settled is Settled.STOPPED:
            self._give_back({held.claim.batch_id})
        if held.open == 0 and held.has_news():
            self._tell(held)

    # -- service

    def _record(self) -> WorkerRecord:
        return WorkerRecord(
            id=self.id,
            queue=self.queue_name,
            pool=self._pool,
            instance=self._instance,
            lanes=self._lane_count,
            processed=self._stats.jobs_processed,
            failed=self._stats.jobs_failed,
            busy_ms=round(self._stats.busy_seconds * 1000),
        )

    async def _register(self) -> None:
        await self._backend.heartbeat(self._record())
        if self._instance:
            await self._backend.retire(self.id, instance=self._instance)
        await self._backend.reap(LEASE_SECONDS)
        self._heard_at = time.monotonic()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS if self.ready else 1.0)
            try:
                await self._backend.heartbeat(self._record())
                self._heard_at = time.monotonic()
            except DatabaseUnavailableError as error:
                logger.warning("heartbeat: %s", error)
                if time.monotonic() - self._heard_at > LEASE_SECONDS * 0.8:
                    # Others will soon take this worker for dead; what has not started here may start there.
                    self._give_back(None)

    async def _upkeep(self) -> None:
        """Each second: report from long claims, learn of stopped batches, make due retries ready; now and then reap."""
        turn = 0
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            self._moved_at = time.monotonic()
            turn += 1
            long = [held for held in self._held.values() if self._moved_at - held.since >= UPKEEP_SECONDS]
            for held in long:
                if held.has_news():
                    self._tell(held)
            try:
                if long:
                    self._give_back(await self._backend.stopped_batches({held.claim.batch_id for held in long}))
                await self._backend.tick(self.queue_name)
                if turn % 5 == 0:
                    await self._backend.reap(LEASE_SECONDS)
            except DatabaseUnavailableError as error:
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
                    self._wake.set()

            try:
                end = await self._backend.listen(wake)
            except DatabaseUnavailableError as error:
                await self._pause("listen", error, failures)
                failures += 1
                continue
            failures = 0
            try:
                await broken.wait()
            finally:
                await end()

    async def _shut_down(self, lanes: list[asyncio.Task[None]], pump: asyncio.Task[None]) -> None:
        if not self._stopping.is_set():
            return  # a task ended by itself; run() raises its error
        logger.info("queue %s: shutting down, %d jobs are running", self.queue_name, self._busy)
        self._give_back(None)
        self._wake.set()
        await asyncio.wait([pump], timeout=self._grace_period)
        if not pump.done():
            for lane in lanes:
                lane.cancel()
            await asyncio.wait(lanes)
            for held in self._held.values():
                self._tell(held)
            await asyncio.wait([pump], timeout=5)
        try:
            await self._backend.retire(self.id)
        except DatabaseUnavailableError as error:
            logger.warning("could not sign off, the lease will end by itself: %s", error)

    async def _until_available(self, what: str, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._moved_at = time.monotonic()
            try:
                return await operation()
            except DatabaseUnavailableError as error:
                await self._pause(what, error, failures)
                failures += 1
        return None

    async def _pause(self, what: str, error: HammerworkError, failures: int) -> None:
        pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        logger.warning("%s: %s; again in %.1f s", what, error, pause)
        self._moved_at = time.monotonic()
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


async def _timed(running: Awaitable[Any], seconds: float) -> None:
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            await running
    except TimeoutError as error:
        if timer.expired():
            raise JobTimeoutError(f"the job ran longer than {seconds:g} s") from error
        raise


def _ends_lane(error: BaseException) -> bool:
    """Whether the lane is told to end. Anything else that comes out of the user's code only fails the attempt."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def _moving_average(average: float | None, value: float) -> float:
    return value if average is None else average + 0.05 * (value - average)
