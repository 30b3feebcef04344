"""A wall clock that is hours wrong and jumps: for processes whose clock must not matter."""

from __future__ import annotations

import time

_STEP_SECONDS = 1.7


def derange(hours: float) -> None:
    """Make this process's wall clock wrong by `hours`, then by as much the other way, and so on."""
    true_time, true_time_ns, monotonic = time.time, time.time_ns, time.monotonic

    def offset() -> float:
        return (hours if int(monotonic() / _STEP_SECONDS) % 2 else -hours) * 3600

    time.time = lambda: true_time() + offset()
    time.time_ns = lambda: true_time_ns() + round(offset() * 1e9)
