"""Runs a reconcile function for keys: one run per key at a time, again when asked, later when it says so."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.tasks import KeptTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork_operator.metrics import Metrics

Key = tuple[str, str]
"""Namespace and name."""

_LOGGER = logging.getLogger(__name__)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_CONFLICT_PAUSE = 0.2
PARALLEL = 50


class Workqueue:
    """Calls `reconcile` for every key that was added, in a task per key.

    `reconcile` returns the seconds after which it wants to run again, or None to wait for the next `add`. An exception
    makes it run again after a pause that doubles from 0.5 to 30 seconds, or is as long as the API server asks for.
    """

    def __init__(
        self,
        kind: str,
        reconcile: Callable[[Key], Awaitable[float | None]],
        metrics: Metrics,
        *,
        parallel: int = PARALLEL,
    ) -> None:
        self._kind = kind
        self._reconcile = reconcile
        self._metrics = metrics
        self._limit = asyncio.Semaphore(parallel)
        self._wanted: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, KeptTask] = {}
        self._stopped = False

    def add(self, key: Key) -> None:
        """Ask for a run of this key, now or right after the current one."""
        if self._stopped:
            return
        self._wanted.setdefault(key, asyncio.Event()).set()
        if key not in self._tasks:
            name = f"{self._kind} {key[0]}/{key[1]}"
            self._tasks[key] = KeptTask("reconcile", name, lambda: self._work(key), self._metrics, ends=True)

    async def stop(self) -> None:
        """Cancel all runs and take no more."""
        self._stopped = True
        await asyncio.gather(*(task.stop() for task in self._tasks.values()))

    async def _work(self, key: Key) -> None:
        wanted = self._wanted[key]
        failures = 0
        while True:
            wanted.clear()
            again, failures = await self._run(key, failures)
            if failures:
                await asyncio.sleep(again or 0.0)  # events must not skip the back-off: our own writes cause events
            elif again is not None:
                await _wait(wanted, again)
            elif not wanted.is_set():
                break
        # No await between the check of `wanted` and here, so no request can get lost.
        del self._tasks[key]
        del self._wanted[key]

    async def _run(self, key: Key, failures: int) -> tuple[float | None, int]:
        least = 0.0
        async with self._limit:
            with self._metrics.reconcile(self._kind) as outcome:
                try:
                    return await self._reconcile(key), 0
                except ApiError as error:
                    if error.conflict:
                        outcome("conflict")
                        return _CONFLICT_PAUSE, 1
                    outcome("error")
                    least = error.retry_after or 0.0
                    _LOGGER.warning("%s %s/%s: %s", self._kind, *key, error)
                except Exception:
                    outcome("error")
                    _LOGGER.exception("%s %s/%s: reconcile failed", self._kind, *key)
        return max(least, min(_FIRST_PAUSE * 2.0 ** min(failures, 16), _LONGEST_PAUSE)), failures + 1


async def _wait(wanted: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wanted.wait()
    except TimeoutError:
        pass
