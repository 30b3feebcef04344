"""Finds the function of a WorkerPool next to its manifest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hammerwork.errors import HandlerError
from hammerwork.handlers import load_function

if TYPE_CHECKING:
    from hammerwork.handlers import Handler
    from hammerwork_cli.running.manifests import PoolManifest


def load_handler(pool: PoolManifest, override: str | None = None) -> Handler:
    """Return the pool's function, looked for in the manifest's folder first, as in the image's handler folder.

    What the template sets in the container's environment is set here too, unless this process has it already.

    Args:
        pool: The pool.
        override: The function to take instead of the one that the pool names; a file is looked for from the current
            folder.

    Raises:
        HandlerError: It cannot be loaded; names the file, the pool and the field, or the option.
    """
    for name, value in pool.environment().items():
        os.environ.setdefault(name, value)
    folder = pool.path.parent.absolute()
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    function = pool.spec.handler.python.function
    try:
        return load_function(override if override is not None else locate(function, folder))
    except HandlerError as error:
        field = "--handler" if override is not None else f"{pool.label}: spec.handler.python.function"
        raise HandlerError(f"{field}: {error}") from error


def locate(function: str, folder: Path) -> str:
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
