"""Handlers that tests run, and what they remember of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hammerwork import Job


async def nothing(_job: Job) -> None:
    """Do nothing, successfully."""


class Runs:
    """A handler that keeps a ledger of its runs, and then does something."""

    def __init__(self, then: Callable[[Job], Coroutine[Any, Any, None]] = nothing) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.attempts: Counter[tuple[int, int]] = Counter()
        """Runs by index and attempt."""
        self.order: list[int] = []
        self.now = 0
        self.most = 0
        """How many ran at a time."""
        self._then = then

    async def __call__(self, job: Job) -> None:
        self.order.append(job.index)
        self.started[job.index] += 1
        self.attempts[job.index, job.attempt] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._then(job)
            self.ended[job.index] += 1
        finally:
            self.now -= 1


def failing_at(*indexes: int, error: type[Exception] = ValueError) -> Runs:
    """Return a handler that raises for these jobs, at each attempt."""

    async def then(job: Job) -> None:
        if job.index in indexes:
            raise error(f"job {job.index}, attempt {job.attempt}")

    return Runs(then)
