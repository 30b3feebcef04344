"""Watches whether the event loop turns, and holds jobs back until it has, when a handler has kept it from turning."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hammerwork.timing import HELD_SECONDS, LOOK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

BREATH_SECONDS = 0.01
"""What the loop gets for everything else, heartbeats and probes, when it has been held."""


class Turns:
    """Looks at the loop four times a second; a look that comes late shows that the loop was held."""

    def __init__(self, looked: Callable[[float], None]) -> None:
        """Make it; `looked` is told at each look for how many seconds, at least, the loop had not turned before it."""
        self.turned_at = time.perf_counter()
        """When the loop was last seen to turn, by `time.perf_counter`."""
        self._looked = looked
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._breathing = False

    def start(self) -> None:
        """Begin to look."""
        self.turned_at = time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more, and hold nobody back. What has held the loop until now is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._looked(time.perf_counter() - self.turned_at - LOOK_SECONDS)
        self._let_go()

    async def settled(self) -> None:
        """Return at once where the loop has turned lately, else when it has had a breath: one waits for the other."""
        while time.perf_counter() - self.turned_at > HELD_SECONDS:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        held = time.perf_counter() - self.turned_at
        if held > HELD_SECONDS and not self._breathing:
            self._breathing = True
            self._timer = loop.call_later(BREATH_SECONDS, self._look)
            return
        self._breathing = False
        self._looked(held - LOOK_SECONDS)
        self.turned_at = time.perf_counter()
        self._timer = loop.call_later(LOOK_SECONDS, self._look)
        self._let_go()

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
