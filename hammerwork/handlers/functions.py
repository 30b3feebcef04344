"""What a handler is, whatever its kind: a function that is called with a job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hammerwork.batch import Job
from hammerwork.errors import HandlerError

Handler = Callable[[Job], Awaitable[Any]] | Callable[[Job], Any]
"""An async function, run on the event loop, or a plain one, run in a thread. What it returns is ignored; what it raises
fails the attempt, and `JobFailedError` fails the job for good."""


BatchHandler = Callable[[list[Job]], Awaitable[Sequence[BaseException | None] | None]]
"""As a handler, but called with all jobs of a claim. It returns None when all succeeded, else a list that has, for each
job, None or the exception that says why it failed. When it raises, all of them have failed."""


def batch_handler(function: Any) -> Handler:
    """Mark a function, async or plain, as one that takes a list of jobs; see `BatchHandler`. Also a decorator."""
    function.hammerwork_batch_handler = True
    return function  # type: ignore[no-any-return]


def is_batch_handler(handler: object) -> bool:
    """Whether the handler was marked with `batch_handler`."""
    return bool(getattr(handler, "hammerwork_batch_handler", False))


def is_async(handler: object) -> bool:
    """Whether calling the handler gives a coroutine."""
    return inspect.iscoroutinefunction(_function(handler))


def handler_name(handler: object) -> str:
    """Return what messages call the handler: its module and name, for an object those of its class."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{getattr(named, '__module__', None) or '?'}:{getattr(named, '__qualname__', '?')}"


def check_handler(handler: object, name: str | None = None) -> None:
    """Refuse what looks as if it ran when it is called, and does not.

    Args:
        handler: Function, method, `functools.partial`, or object that can be called.
        name: What the message calls it; by default its module and name.

    Raises:
        HandlerError: It holds a ``yield``, so that a call only makes a generator.
    """
    function = _function(handler)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerError(
            f"handler {name or handler_name(handler)!r}: it has a 'yield' in it, so a call would make a generator and "
            "run nothing; remove the 'yield'"
        )


def _function(handler: object) -> object:
    """Return the function whose code runs when the handler is called, as far as that can be seen."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.isroutine(handler) or inspect.isclass(handler):
        return handler
    return getattr(type(handler), "__call__", handler)  # noqa: B004 (not whether, but which)
