"""Finds the handler of a WorkerPool next to its manifest."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import HandlerError
from hammerwork.handlers import HandlerReference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork.handlers import Handler
    from hammerwork_cli.running.manifests import PoolManifest


def load_handler(pool: PoolManifest, override: str | None = None) -> Handler:
    """Return the pool's handler, looked for in the manifest's folder first, as in the image's handler folder.

    What the template sets in the container's environment is set here too, unless this process has it already.

    Args:
        pool: The pool.
        override: The handler to take instead of the one that the pool names; a file is looked for from the current
            folder.

    Raises:
        HandlerError: It cannot be loaded; names the file, the pool and the field, or the option.
    """
    for name, value in pool.environment().items():
        os.environ.setdefault(name, value)
    folder = pool.path.parent.absolute()
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    declared = HandlerReference.from_manifest(msgspec.to_builtins(pool.spec.handler))
    try:
        return HandlerReference.from_text(override).load() if override is not None else declared.load(folder)
    except HandlerError as error:
        field = "--handler" if override is not None else f"{pool.label}: spec.handler.{declared.path}"
        raise HandlerError(f"{field}: {error}") from error


def other_values(pools: Iterable[PoolManifest]) -> list[str]:
    """Return a sentence for each variable that a loaded pool finds set otherwise than its template says."""
    return [
        f"{pool.label}: {name} has another value here: this process has one environment, and it was set before"
        for pool in pools
        for name, value in pool.environment().items()
        if os.environ.get(name) != value
    ]
