"""Cancels an operation wherever it waits, just as what it waits for has come: there a cancellation is easily lost."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

from tests.harness.waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator


async def forgotten(
    operation: Callable[[], Coroutine[Any, Any, object]], settled: Callable[[], Awaitable[None]]
) -> list[str]:
    """Run an operation until it ends by itself: cancelled at the first wait of it and its tasks, at the second, ….

    Args:
        operation: Makes the coroutine to run.
        settled: Called after each run; raises AssertionError for what is wrong then.

    Returns:
        Where the cancellation was not its end.
    """
    faults: list[str] = []
    chosen = 0
    while True:
        chosen += 1
        waits = _Waits(chosen)
        loop = asyncio.get_running_loop()
        loop.set_task_factory(waits.task)
        try:
            waits.main = asyncio.create_task(operation())
            _, late = await asyncio.wait([waits.main], timeout=DEADLINE_SECONDS)
        finally:
            waits.counts = False
            loop.set_task_factory(None)
        where = f"at wait {chosen}, {waits.place}"
        if late:
            faults.append(f"goes on after it was cancelled {where}")
            waits.main.cancel()
            return faults
        if not waits.cancelled:
            await waits.main
            return faults
        if not waits.main.cancelled():
            faults.append(f"ended with {waits.main.exception()!r} when it was cancelled {where}")
        try:
            await settled()
        except AssertionError as error:
            faults.append(f"{error}, when it was cancelled {where}")
            return faults


class _Waits:
    """Counts the waits of tasks, and cancels the main one at the chosen one."""

    def __init__(self, chosen: int) -> None:
        self.main: asyncio.Task[object]
        self.counts = True
        self.cancelled = False
        self.place = ""
        self._left = chosen

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, context: Any = None) -> asyncio.Task[Any]:
        """Make a task, as a factory of a loop does."""

        async def run() -> Any:
            return await self._counted(work)

        return asyncio.Task(run(), loop=loop, context=context)

    @types.coroutine
    def _counted(self, work: Any) -> Generator[Any, Any, Any]:
        step, value = work.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            self._left -= self.counts
            if self._left == 0 and self.counts:
                self.counts = False
                self.place = _place(work)
                if awaited is None:  # it lets others have their turn
                    asyncio.get_running_loop().call_soon(self._cancel)
                else:
                    awaited.add_done_callback(self._cancel)
            try:
                step, value = work.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 (it is passed on)
                step, value = work.throw, error

    def _cancel(self, *_: object) -> None:
        self.cancelled = self.main.cancel()


def _place(work: Any) -> str:
    frames = []
    while (frame := getattr(work, "cr_frame", None)) is not None:
        frames.append(f"{work.cr_code.co_qualname}:{frame.f_lineno}")
        work = work.cr_await
    return " > ".join(frames[-4:])
