"""Lanes: each runs one job, or one call of a batch handler, at a time."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import Job, PartialFailureMode
from hammerwork.errors import HandlerError, JobTimeoutError
from hammerwork.handlers import is_async, is_batch_handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork.claims import HeldClaim
    from hammerwork.handlers import Handler
    from hammerwork.holdings import Holdings

logger = logging.getLogger("hammerwork.worker")

SLICE_SECONDS = 0.001
"""Handlers that never wait must let the event loop turn this often, so that the next claim is fetched meanwhile."""


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


class Lanes:
    """Runs a handler on the jobs that a worker holds, `count` at a time."""

    def __init__(self, handler: Handler, holdings: Holdings, *, queue_name: str, count: int) -> None:
        self.stats = WorkerStats()
        self._turned_at = 0.0
        """When a lane last gave the event loop its turn, by the clock of `_lane`."""
        self._starts = 0
        """Jobs started so far."""
        self.busy = 0
        self.average_seconds: float | None = None
        """Duration of a job lately; None before the first one."""
        self._holdings = holdings
        self._queue_name = queue_name
        self._executor = None if is_async(handler) else ThreadPoolExecutor(count, "hammerwork")
        self._call = handler if self._executor is None else self._in_thread(handler, self._executor)
        self._hung: set[asyncio.Future[Any]] = set()
        """Threads that go on though their job has timed out; each keeps a lane busy."""
        self._ending = False
        self._run = self._batch_lane if is_batch_handler(handler) else self._lane
        self.count = count
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Open the lanes."""
        self.tasks = [asyncio.create_task(self._run()) for _ in range(self.count)]

    def cancel(self) -> None:
        """Cut running jobs short and give them back. A handler's thread cannot be cut short; its outcome is ignored."""
        self._ending = True
        for task in self.tasks:
            task.cancel()

    def close(self) -> None:
        """Let go of the threads."""
        for thread in self._hung:
            thread.cancel()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _lane(self) -> None:  # noqa: C901, PLR0915 (hot: a call costs a tenth of what a no-op job does)
        clock = time.perf_counter
        holdings, stats, call = self._holdings, self.stats, self._call
        startable = holdings.startable
        queue_name = self._queue_name
        current: HeldClaim | None = None
        self._turned_at = started = clock()
        while True:
            if not startable:
                await holdings.work()
                self._turned_at = started = clock()
                continue
            if self._hung and self.busy >= self.count:
                await self._thread_free()
                self._turned_at = started = clock()
                continue
            held = startable[0]
            if held is not current:  # what all jobs of a claim share is looked up once
                current = held
                claim = held.claim
                payloads, priority, batch_id, indexes = claim.payloads, claim.priority, claim.batch_id, claim.indexes
                attempt, max_attempts, timeout = claim.attempt, claim.max_attempts, claim.timeout_seconds
            offset = held.start()
            if held.cursor == held.size:
                startable.popleft()
            job = Job(queue_name, payloads[offset], priority, batch_id, indexes[offset], attempt, max_attempts)
            self.busy += 1
            self._starts = this_start = self._starts + 1
            try:
                if timeout is None:
                    await call(job)
                else:
                    await _timed(call(job), timeout, f"the job ran longer than {timeout:g} s")
            except BaseException as error:
                if self._ends_lane(error):
                    held.release(offset)
                    self.busy -= 1
                    raise
                self._fail(held, offset, error)
            else:
                held.complete(offset)
                stats.jobs_completed += 1
            ended = clock()
            self.busy -= 1
            seconds = ended - started
            stats.jobs_processed += 1
            stats.busy_seconds += seconds
            average = self.average_seconds
            self.average_seconds = seconds if average is None else average + 0.05 * (seconds - average)
            if held.open == 0:
                holdings.tell(held)
            started = ended
            # Another lane has started a job meanwhile: the handler waited, so the loop has had its turn.
            if self._starts == this_start and ended - self._turned_at > SLICE_SECONDS:
                await asyncio.sleep(0)
                self._turned_at = started = clock()

    async def _batch_lane(self) -> None:
        holdings = self._holdings
        while True:
            if not holdings.startable:
                await holdings.work()
                continue
            if self._hung and self.busy >= self.count:
                await self._thread_free()
                continue
            held, offsets = holdings.start_all()
            jobs = [self._job(held, offset) for offset in offsets]
            self.busy += 1
            started = time.perf_counter()
            try:
                outcomes = await self._call_batch(held, jobs)
            except BaseException:
                for offset in offsets:
                    held.release(offset)
                raise
            finally:
                self.busy -= 1
            for offset, error in zip(offsets, outcomes, strict=True):
                if error is None:
                    held.complete(offset)
                    self.stats.jobs_completed += 1
                else:
                    self._fail(held, offset, error)
            self._note(len(jobs), time.perf_counter() - started)
            holdings.tell(held)
            await asyncio.sleep(0)

    async def _call_batch(self, held: HeldClaim, jobs: list[Job]) -> Sequence[BaseException | None]:
        """Return the outcome of each job; raises only what ends the lane."""
        call: Callable[[Any], Awaitable[Any]] = self._call
        timeout = held.claim.timeout_seconds
        try:
            if timeout is None:
                outcomes = await call(jobs)
            else:
                limit = timeout * len(jobs)
                outcomes = await _timed(call(jobs), limit, f"{len(jobs)} jobs ran longer than {limit:g} s together")
        except BaseException as error:
            if self._ends_lane(error):
                raise
            return [error] * len(jobs)
        if outcomes is None:
            return [None] * len(jobs)
        wrong = _wrong_outcomes(outcomes, len(jobs))
        return [HandlerError(wrong)] * len(jobs) if wrong else outcomes

    def _job(self, held: HeldClaim, offset: int) -> Job:
        claim = held.claim
        return Job(
            self._queue_name,
            claim.payloads[offset],
            claim.priority,
            claim.batch_id,
            claim.indexes[offset],
            claim.attempt,
            claim.max_attempts,
        )

    def _note(self, jobs: int, seconds: float) -> None:
        self.stats.jobs_processed += jobs
        self.stats.busy_seconds += seconds
        each = seconds / jobs
        average = self.average_seconds
        self.average_seconds = each if average is None else average + 0.05 * (each - average)

    def _fail(self, held: HeldClaim, offset: int, error: BaseException) -> None:
        claim = held.claim
        final = held.fail(offset, error)
        self.stats.jobs_failed += 1
        logger.info(
            "job %s/%d: attempt %d of %d failed%s: %s: %s",
            claim.batch_id,
            claim.indexes[offset],
            claim.attempt,
            claim.max_attempts,
            "" if final else ", will be tried again",
            type(error).__name__,
            error,
        )
        if claim.failure_mode is PartialFailureMode.FAIL_FAST:
            self._holdings.fail_fast(held)

    def _ends_lane(self, error: BaseException) -> bool:
        """Whether the lane is told to end. Anything else that comes out of the user's code only fails the attempt."""
        if isinstance(error, asyncio.CancelledError) and not self._ending:
            task = asyncio.current_task()
            while task is not None and task.cancelling():  # the user's code has cancelled the task that it runs in
                task.uncancel()
            return False
        return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit)

    def _in_thread(self, handler: Handler, executor: ThreadPoolExecutor) -> Callable[[Any], Awaitable[Any]]:
        def run(argument: Any) -> Any:
            try:
                return handler(argument)
            except StopIteration as error:  # which no future can carry
                raise RuntimeError("the handler raised StopIteration") from error

        async def call(argument: Any) -> Any:
            thread = executor.submit(run, argument)
            try:
                result = await asyncio.wrap_future(thread)
            except asyncio.CancelledError:
                if thread.running():
                    self._leave_behind(asyncio.wrap_future(thread))
                raise
            return await result if inspect.isawaitable(result) else result

        return call

    def _leave_behind(self, thread: asyncio.Future[Any]) -> None:
        def ended(thread: asyncio.Future[Any]) -> None:
            self.busy -= 1
            self._hung.discard(thread)
            self._holdings.changed.set()
            if not thread.cancelled():
                thread.exception()  # has been seen

        self.busy += 1
        self._hung.add(thread)
        thread.add_done_callback(ended)

    async def _thread_free(self) -> None:
        """Return when one of the threads has ended that were left behind."""
        await asyncio.wait(self._hung, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)  # for its lane to be set free


async def _timed(running: Awaitable[Any], seconds: float, message: str) -> Any:
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await running
    except TimeoutError as error:
        if timer.expired():
            raise JobTimeoutError(message) from error
        raise


def _wrong_outcomes(outcomes: object, count: int) -> str | None:
    if not isinstance(outcomes, Sequence):
        return f"the batch handler returned {type(outcomes).__name__}; it must be None or a list, an entry for each job"
    if len(outcomes) != count:
        return f"the batch handler returned {len(outcomes)} outcomes for {count} jobs"
    for entry in outcomes:
        if entry is not None and not isinstance(entry, BaseException):
            return f"the batch handler returned an outcome of type {type(entry).__name__}; it must be None or an error"
    return None
