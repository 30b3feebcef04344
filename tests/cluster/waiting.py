"""Waiting with a deadline, and saying what was seen when it passes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(what: str, probe: Callable[[], str | None], *, seconds: float, interval: float = 0.1) -> None:
    """Call `probe` until it returns None, which says that `what` has come true.

    Args:
        what: the state waited for, as the end of "waited for …".
        probe: returns None, or what it saw instead.
        seconds: the deadline.
        interval: seconds between two calls.

    Raises:
        ClusterError: the deadline passed; the message has what the last probe saw.
    """
    deadline = time.monotonic() + seconds
    while (seen := probe()) is not None:
        if time.monotonic() >= deadline:
            raise ClusterError(f"waited {seconds:g} s for {what}; last seen: {seen}")
        time.sleep(interval)
