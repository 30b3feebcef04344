"""Lanes: each runs one job, or one call of a batch handler, at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from hammerwork.batch import Job, PartialFailureMode
from hammerwork.errors import HandlerError, error_type
from hammerwork.handlers.functions import handler_name, is_async, is_batch_handler
from hammerwork.reports import WorkerStats
from hammerwork.seldom import Seldom
from hammerwork.timing import HELD_SECONDS, NAMED_SECONDS
from hammerwork.working.calls import VALUES, in_context, timed, whole
from hammerwork.working.threads import HandlerThreads
from hammerwork.working.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork.handlers.functions import Handler
    from hammerwork.working.claims import HeldClaim
    from hammerwork.working.holdings import Holdings

logger = logging.getLogger("hammerwork.worker")

SLICE_SECONDS = 0.001
"""Lanes yield to the event loop at least this often, so that the next claim is fetched while handlers never wait."""


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
        self._handler = handler
        self._context = copy_context()
        """What each job finds set: what was set where `Worker.run` was called."""
        self._threads = None if is_async(handler) else HandlerThreads(handler, count, self._context, self._add_busy)
        self._call: Callable[[Any], Awaitable[Any]] = handler if self._threads is None else self._threads.call
        self._turns = Turns(self._looked)
        self._ran = (0, 0)
        """Jobs started, and running, at the last look at the loop."""
        self._seldom = Seldom()
        self._ending = False
        self._run = self._batch_lane if is_batch_handler(handler) else self._lane
        self.count = count
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Open the lanes."""
        self._turns.start()
        self.tasks = [asyncio.create_task(self._run(), context=self._context.copy()) for _ in range(self.count)]

    def cancel(self) -> None:
        """Cut running jobs short and give them back, whatever error their handlers make of that.

        A handler's thread cannot be cut short; its outcome is ignored.
        """
        self._ending = True
        if self._threads is not None:
            self._threads.ending = True
        for task in self.tasks:
            task.cancel()

    def close(self) -> None:
        """Let go of the threads."""
        self._turns.stop()
        if self._threads is not None:
            self._threads.close()

    @property
    def hung(self) -> int:
        """Threads that go on though their job has timed out."""
        return self._threads.hung if self._threads is not None else 0

    @property
    def stuck(self) -> bool:
        """Whether no job can start any more because of them."""
        return self._threads is not None and self._threads.stuck

    async def _lane(self) -> None:  # noqa: C901, PLR0912, PLR0915 (hot: a call costs a tenth of what a no-op job does)
        clock = time.perf_counter
        holdings, stats, call, threads, turns = self._holdings, self.stats, self._call, self._threads, self._turns
        startable = holdings.startable
        queue_name = self._queue_name
        current: HeldClaim | None = None
        apart = self._apart
        clean = copy_context()
        shares = threads is None
        """Whether jobs run in the lane's own context, which is so until one of them has left something in it."""
        self._turned_at = started = clock()
        while True:
            if not startable:
                if self._ending:
                    return
                await holdings.work()
                await turns.settled()
                self._turned_at = started = clock()
                continue
            if threads is not None and threads.hung and self.busy >= self.count:
                await threads.one_ends()
                self._turned_at = started = clock()
                continue
            held = startable[0]
            if held is not current:  # what all jobs of a claim share is looked up once
                current = held
                claim = held.claim
                payloads, priority, batch_id, indexes = claim.payloads, claim.priority, claim.batch_id, claim.indexes
                attempt, max_attempts, timeout = claim.attempt, claim.max_attempts, claim.timeout_seconds
                last = held.size - 1
            held.cursor = (offset := held.cursor) + 1  # held.start()
            if offset == last:
                startable.popleft()
            job = Job(queue_name, payloads[offset], priority, batch_id, indexes[offset], attempt, max_attempts)
            self.busy += 1
            self._starts = this_start = self._starts + 1
            try:
                if timeout is None:
                    result = await call(job)
                    if result is not None and type(result) not in VALUES:
                        await whole(result, self._handler)
                elif call is apart:
                    await apart(job, timeout, f"the job ran longer than {timeout:g} s")
                else:
                    await timed(self._whole(call, job), timeout, f"the job ran longer than {timeout:g} s")
            except BaseException as error:
                ends = self._ends_lane(error)
                if ends or self._ending:
                    held.release(offset)
                    self.busy -= 1
                    if ends:
                        raise
                    return
                self._fail(held, offset, error)
            else:
                held.complete(offset)
                stats.jobs_completed += 1
            if shares:
                try:
                    shares = copy_context() == clean
                except Exception:  # noqa: BLE001 (values that cannot be compared)
                    shares = False
                if not shares:
                    call = apart
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
            if ended - self._turned_at > SLICE_SECONDS:
                if self._starts == this_start:
                    await asyncio.sleep(0)
                elif ended - turns.turned_at < HELD_SECONDS:
                    # Another lane has started a job meanwhile: the handler waited, so the loop has had its turn.
                    continue
                await turns.settled()
                self._turned_at = started = clock()

    async def _batch_lane(self) -> None:
        holdings = self._holdings
        while True:
            await self._turns.settled()
            if not holdings.startable:
                if self._ending:
                    return
                await holdings.work()
                continue
            if self._threads is not None and self._threads.hung and self.busy >= self.count:
                await self._threads.one_ends()
                continue
            held, offsets = holdings.start_all()
            jobs = [self._job(held, offset) for offset in offsets]
            self.busy += 1
            self._starts += 1
            started = time.perf_counter()
            try:
                outcomes = await self._call_batch(held, jobs)
            except BaseException as end:
                for offset in offsets:
                    held.release(offset)
                if self._ends_lane(end):
                    raise
                return
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
        """Return the outcome of each job; raises only what ends the lane, or comes while it is told to end."""
        each = held.claim.timeout_seconds
        limit = None if each is None else each * len(jobs)
        message = f"{len(jobs)} jobs ran longer than {limit or 0:g} s together"
        try:
            if self._threads is None:
                outcomes = await self._apart(jobs, limit, message)
            elif limit is None:
                outcomes = await self._call(jobs)
            else:
                outcomes = await timed(self._call(jobs), limit, message)
        except BaseException as error:
            if self._ending or self._ends_lane(error):
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
            "" if final else ", will be retried",
            error_type(error),
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

    async def _whole(self, call: Callable[[Any], Awaitable[Any]], argument: Any) -> Any:
        result = await call(argument)
        return result if type(result) in VALUES else await whole(result, self._handler)

    async def _apart(self, argument: Any, timeout: float | None = None, message: str = "") -> Any:
        """Call an async handler in a context that nothing else runs in, for `timeout` seconds."""
        return await in_context(self._context.copy(), partial(self._call_alone, argument, timeout, message))

    async def _call_alone(self, argument: Any, timeout: float | None, message: str) -> Any:
        # Of several tasks made in one turn of the loop, the first may have held it since.
        await self._turns.settled()
        running = self._whole(self._handler, argument)
        return await (running if timeout is None else timed(running, timeout, message))

    def _add_busy(self, lanes: int) -> None:
        """Note that so many more lanes, or fewer, have no thread to run a job in."""
        self.busy += lanes
        self._holdings.changed.set()

    def _looked(self, held: float) -> None:
        """Say so when the loop has not turned for long while jobs ran on it."""
        starts, running = self._ran
        self._ran = (self._starts, self.busy)
        if held < NAMED_SECONDS or self._threads is not None or (not running and starts == self._starts):
            return
        if self._seldom.due():
            logger.warning(
                "handler %s: the event loop was blocked for %.1f s while it ran. An async function must await "
                "whatever takes long; make it a plain function, which runs in a thread, or use asyncio.to_thread",
                handler_name(self._handler),
                held,
            )


def _wrong_outcomes(outcomes: object, count: int) -> str | None:
    if not isinstance(outcomes, Sequence):
        return f"the batch handler returned {type(outcomes).__name__}; it must be None or a list, an entry for each job"
    if len(outcomes) != count:
        return f"the batch handler returned {len(outcomes)} outcomes for {count} jobs"
    for entry in outcomes:
        if entry is not None and not isinstance(entry, BaseException):
            return f"the batch handler returned an outcome of type {type(entry).__name__}; it must be None or an error"
    return None
