"""How a handler is called: in a context of its own, and until all that it returned to be awaited has ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

from hammerwork.errors import JobFailedError, JobTimeoutError
from hammerwork.handlers.functions import handler_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from hammerwork.handlers.functions import Handler

VALUES = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""Types of results that need no second look: nothing in them is to be awaited."""


async def whole(result: Any, handler: Handler) -> Any:
    """Await what a handler returned instead of awaiting it itself; returns what that gives.

    Raises:
        JobFailedError: It returned a generator: whatever the job was meant to do has not been done, now or next time.
    """
    if type(result) in VALUES:
        return result
    if isinstance(result, concurrent.futures.Future):
        result = asyncio.wrap_future(result)
    if inspect.isawaitable(result):
        return await whole(await result, handler)
    if isinstance(result, Generator | AsyncGenerator):
        raise JobFailedError(
            f"the handler {handler_name(handler)} returned a generator, so nothing has run; "
            "it must do its work itself, or return something that can be awaited"
        )
    return result


async def in_context(context: Context, call: Callable[[], Awaitable[Any]]) -> Any:
    """Run `call` and what it gives to await in `context`."""

    async def run() -> tuple[Any, BaseException | None]:
        try:
            return await call(), None
        except (SystemExit, KeyboardInterrupt) as error:  # a task would throw these at the event loop
            return None, error

    result, error = await asyncio.create_task(run(), context=context)
    if error is not None:
        raise error
    return result


async def timed(running: Awaitable[Any], seconds: float, message: str) -> Any:
    """Await `running` for so many seconds; raises `JobTimeoutError` with `message` after them."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await running
    except TimeoutError as error:
        if timer.expired():
            raise JobTimeoutError(message) from error
        raise
