"""The threads that a plain function runs in. One that outlasts its job's timeout is left behind, and replaced."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from hammerwork.handlers.functions import handler_name
from hammerwork.seldom import Seldom
from hammerwork.working.calls import VALUES, in_context, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from hammerwork.handlers.functions import Handler

logger = logging.getLogger("hammerwork.worker")

_NAME = "hammerwork"


def any_left() -> bool:
    """Whether a handler's thread goes on: Python would not end the process before it, `os._exit` does."""
    return any(thread.name.startswith(f"{_NAME}_") for thread in threading.enumerate())


class _Room:
    """An executor. There are two, because one with twice the threads starts more than lanes need."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, _NAME)
        self.used = 0
        """Calls that have not ended, those that hang included."""


class HandlerThreads:
    """Threads for `lanes` calls at a time, and for as many more that hang.

    A thread cannot be cut short. Without a bound, a handler that always hangs would fill the memory with threads;
    without replacements, a few that hang would stop all lanes.
    """

    def __init__(self, handler: Handler, lanes: int, context: Context, changed: Callable[[int], None]) -> None:
        """Make threads for `handler`; `changed` is told by how many the lanes without a thread have grown."""
        self._handler = handler
        self._lanes = lanes
        self._context = context
        self._changed = changed
        self._first, self._replacements = _Room(lanes), _Room(lanes)
        self._hung: set[asyncio.Future[Any]] = set()
        self.ending = False
        """Whether running jobs are being cut short: threads that are left behind then are no news."""
        self._hangs, self._stops = Seldom(), Seldom()

    @property
    def hung(self) -> int:
        """Threads that go on though their job has timed out."""
        return len(self._hung)

    @property
    def stuck(self) -> bool:
        """Whether all threads hang, the replacements too, so that no job can start."""
        return len(self._hung) >= 2 * self._lanes

    async def call(self, argument: Any) -> Any:
        """Run the handler in a thread, and what it returns to be awaited on the event loop, both in one context."""
        context = self._context.copy()
        room = self._first if self._first.used < self._lanes else self._replacements
        room.used += 1
        thread = room.executor.submit(context.run, self._run, argument)
        hangs = False
        try:
            result = await asyncio.wrap_future(thread)
        except asyncio.CancelledError:
            hangs = thread.running()
            if hangs:
                self._leave_behind(asyncio.wrap_future(thread), room)
            raise
        finally:
            if not hangs:
                room.used -= 1
        if type(result) in VALUES:
            return result
        return await in_context(context, partial(whole, result, self._handler))

    def _run(self, argument: Any) -> Any:
        try:
            return self._handler(argument)
        except (StopIteration, KeyboardInterrupt, GeneratorExit) as error:
            # No future can carry the first; the others would end the lane, but are the handler's own in a thread.
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error

    def _leave_behind(self, thread: asyncio.Future[Any], room: _Room) -> None:
        self._hung.add(thread)
        if len(self._hung) > self._lanes:
            self._changed(1)
        thread.add_done_callback(partial(self._ended, room))
        if self.ending:
            return
        if self.stuck:
            if self._stops.due():
                logger.warning(
                    "handler %s: all %d threads are stuck, each on a job that has timed out; no further job can start "
                    "before one of them ends. Restart the worker, and set a time limit on whatever the "
                    "handler waits for",
                    handler_name(self._handler),
                    len(self._hung),
                )
        elif self._hangs.due():
            logger.warning(
                "handler %s: a job has timed out, but its thread cannot be interrupted and keeps running; %d such "
                "threads are stuck; beyond %d, jobs have to wait. Set a time limit on whatever the handler waits for",
                handler_name(self._handler),
                len(self._hung),
                self._lanes,
            )

    def _ended(self, room: _Room, thread: asyncio.Future[Any]) -> None:
        room.used -= 1
        if len(self._hung) > self._lanes:
            self._changed(-1)
        self._hung.discard(thread)
        if not thread.cancelled():
            thread.exception()  # has been seen

    async def one_ends(self) -> None:
        """Return when one of the threads has ended that hang."""
        await asyncio.wait(self._hung, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)  # for its lane to be set free

    def close(self) -> None:
        """Let go of the threads."""
        for thread in self._hung:
            thread.cancel()
        for room in (self._first, self._replacements):
            room.executor.shutdown(wait=False, cancel_futures=True)
