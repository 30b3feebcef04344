"""How a user's code is found and called."""

from __future__ import annotations

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


def is_async(handler: Handler) -> bool:
    """Whether calling the handler gives something to await."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def load_function(spec: str) -> Handler:
    """Return the function that ``module:function`` or ``path/to/file.py:function`` names.

    Raises:
        HandlerError: Nothing is there, or it cannot be called with one job.
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
    except Exception as error:
        del sys.modules[name]
        raise HandlerError(f"handler {spec!r}: importing {path} raised {type(error).__name__}: {error}") from error
    return module
