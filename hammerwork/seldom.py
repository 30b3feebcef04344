"""Warnings that a busy worker would otherwise repeat with every job."""

from __future__ import annotations

import time

SECONDS_BETWEEN = 60.0


class Seldom:
    """Tells whether it is time to say something again: at once for the first time, then once a minute."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        """Whether to say it now; counts as said then."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SECONDS_BETWEEN
        return True
