"""How a user's code is found and called."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hammerwork.batch import Job
from hammerwork.errors import HandlerError

if TYPE_CHECKING:
    from types import ModuleType

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


def load_function(spec: str) -> Handler:
    """Return the function that ``module:function`` or ``path/to/file.py:function`` names.

    Raises:
        HandlerError: Nothing is there, it cannot be called with one job, or a call would run nothing.
    """
    place, separator, name = spec.rpartition(":")
    if not (separator and place and name):
        raise HandlerError(f"handler {spec!r}: must be module:function or path/to/file.py:function")
    target: Any = _import_file(spec, Path(place)) if place.endswith(".py") else _import_module(spec, place)
    for part in name.split("."):
        if not hasattr(target, part):
            raise HandlerError(f"handler {spec!r}: {place!r} has no {name!r}")
        target = getattr(target, part)
    if not callable(target):
        raise HandlerError(f"handler {spec!r}: {type(target).__name__}, not a function")
    try:
        inspect.signature(target).bind(None)
    except TypeError as error:
        raise HandlerError(f"handler {spec!r}: must take one argument, the job: {error}") from error
    except ValueError:
        pass  # written in C: no signature to check
    check_handler(target, spec)
    return target  # type: ignore[no-any-return]


def _import_module(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        where = ", ".join(repr(entry or ".") for entry in sys.path[:3])
        raise HandlerError(
            f"handler {spec!r}: no module {error.name!r}; looked in {where} and the installed packages"
        ) from error
    except Exception as error:
        raise HandlerError(f"handler {spec!r}: importing {name!r} raised {type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise HandlerError(_gave_up(spec, repr(name), error)) from error


def _import_file(spec: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise HandlerError(f"handler {spec!r}: no file {path}")
    # A name of its own: a file must not stand in the way of a module that is called the same.
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise HandlerError(f"handler {spec!r}: {path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up there
    try:
        module_spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        if not isinstance(error, Exception):
            raise HandlerError(_gave_up(spec, str(path), error)) from error
        raise HandlerError(f"handler {spec!r}: importing {path} raised {type(error).__name__}: {error}") from error
    return module


def _gave_up(spec: str, place: str, error: BaseException) -> str:
    """Say what ended an import that would have ended the process, with an exit code of its own choice."""
    if isinstance(error, SystemExit):
        return (
            f"handler {spec!r}: importing {place} called sys.exit({error.code!r}); put what only a program of its own "
            "should do under: if __name__ == '__main__'"
        )
    return f"handler {spec!r}: importing {place} raised {type(error).__name__}: {error}"
