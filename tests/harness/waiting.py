"""Waiting in an event loop, with a deadline, telling what was seen last; tests/cluster/waiting.py is for the others."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEADLINE_SECONDS = 40.0
"""Far beyond what anything here takes, on the slowest machine: it only bounds a test that has failed already."""


async def eventually(
    look: Callable[[], Awaitable[T]],
    until: Callable[[T], object],
    *,
    within: float = DEADLINE_SECONDS,
    every: float = 0.02,
    tell: Callable[[T], object] = repr,
) -> T:
    """Look again and again until what is seen is as it should be; return it. `tell` says what a failure shows of it."""
    deadline = time.monotonic() + within
    while not until(seen := await look()):
        assert time.monotonic() < deadline, f"after {within:g} s still: {tell(seen)}"
        await asyncio.sleep(every)
    return seen


async def happens(condition: Callable[[], object], *, within: float = DEADLINE_SECONDS) -> None:
    """Return once a condition in this process holds."""

    async def look() -> object:
        return condition()

    await eventually(look, bool, within=within)
