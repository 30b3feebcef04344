"""Handlers of kind `python`: a function of the user's code, in a module or a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hammerwork.errors import HandlerError
from hammerwork.handlers.functions import check_handler
from hammerwork.handlers.kinds import Field, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from hammerwork.handlers.functions import Handler

FUNCTION = Field(
    variable="HAMMERWORK_HANDLER",
    purpose="the function to run on each job",
    allowed="module:function or path/to/file.py:function",
    pattern=r"^[^\s:]+:[A-Za-z_][A-Za-z0-9_.]*$",
)


def load(fields: Mapping[str, str], folder: Path | None) -> Handler:
    """Return the function that the field `function` names."""
    function = fields["function"]
    return load_function(function if folder is None else _locate(function, folder))


KIND = Kind(name="python", fields={"function": FUNCTION}, load=load)


def _locate(function: str, folder: Path) -> str:
    """Return the name to load `function` by, so that a file in `folder` goes before all others of its name."""
    module, _, name = function.rpartition(":")
    if module.endswith(".py"):
        return f"{folder / module}:{name}"
    file = folder / Path(*module.split(".")).with_suffix(".py")
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None and file.exists() and not file.samefile(loaded):
        # Two folders with a handlers.py each: Python knows a module name once only, so take the file itself.
        return f"{file}:{name}"
    return function


def load_function(spec: str) -> Handler:
    """Return the function that ``module:function`` or ``path/to/file.py:function`` names.

    Raises:
        HandlerError: Nothing is there, it cannot be called with one job, or a call would run nothing.
    """
    place, separator, name = spec.rpartition(":")
    if not (separator and place and name):
        raise HandlerError(f"handler {spec!r}: must be {FUNCTION.allowed}")
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
