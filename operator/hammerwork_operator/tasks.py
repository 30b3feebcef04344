"""Tasks that go on until they are told to end; one that ends unasked is counted and started again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hammerwork_operator.metrics import Metrics

RESTART_SECONDS = 1.0
"""Between the end of a task that nobody asked to end, and its next start."""

_LOGGER = logging.getLogger(__name__)


class KeptTask:
    """Runs `work` in a task. An exception ends it unasked, and so does a cancellation that is not by `cancel`.

    That is more than a net for faults of our own: a driver that cancels what it has waited for ends the task that
    waited, and nobody would hear of it.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        work: Callable[[], Coroutine[None, None, None]],
        metrics: Metrics,
        *,
        ends: bool = False,
    ) -> None:
        """Start.

        Args:
            kind: What the metric counts it under.
            name: What the log calls it.
            work: Makes the coroutine to run, at each start.
            metrics: Has the count.
            ends: Whether `work` may return: it has done its work then.
        """
        self._kind = kind
        self._name = name
        self._work = work
        self._metrics = metrics
        self._ends = ends
        self._told = False
        self._start()

    def cancel(self) -> None:
        """Tell it to end."""
        self._told = True
        self._task.cancel()

    async def stop(self) -> None:
        """Tell it to end; return when it has."""
        self.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _start(self) -> None:
        if not self._told:
            self._task = asyncio.create_task(self._work(), name=self._name)
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._told or (self._ends and error is None and not task.cancelled()):
            return
        self._metrics.restarted_tasks.labels(self._kind).inc()
        _LOGGER.error("task %r has ended unasked, and is started again: %r", self._name, error, exc_info=error)
        asyncio.get_running_loop().call_later(RESTART_SECONDS, self._start)
