"""Notifications: idle workers learn at once that jobs of their queue are ready."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import TYPE_CHECKING

from hammerwork.backends.postgres.statements import statements
from hammerwork.errors import HammerworkError

if TYPE_CHECKING:
    from hammerwork.backends.postgres.connection import Database

logger = logging.getLogger("hammerwork.queue")

_PAUSE_SECONDS = 0.01
"""Between two notifications of one queue by one process."""


def channel_of(queue: str) -> str:
    """Return the name of the channel on which workers of a queue listen."""
    return f"hammerwork_{hashlib.sha256(queue.encode()).hexdigest()[:24]}"


class Waker:
    """Notifies the workers of queues.

    Commits with a notification exclude each other on the server. So one enqueue at a time notifies within its commit
    (`begin`). All else does so after its commit, in a transaction that writes nothing and so waits for no disk. Whoever
    misses it finds the jobs when it polls.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statement = statements()["wake"].text
        self._sent_at: dict[str, float] = {}
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def begin(self, queue: str) -> str | None:
        """Return the channel to notify within the next commit; None: the queue has been notified just now."""
        now = time.monotonic()
        if queue in self._pending or now < self._sent_at.get(queue, float("-inf")) + _PAUSE_SECONDS:
            return None
        self._sent_at[queue] = now
        return channel_of(queue)

    def undo(self, queue: str) -> None:
        """Note that the commit has not notified the queue after all."""
        self._sent_at.pop(queue, None)

    def wake(self, queue: str) -> None:
        """Notify the workers of `queue`, at once or a few milliseconds later; the caller does not wait for it."""
        if queue not in self._pending:
            wait = self._sent_at.get(queue, float("-inf")) + _PAUSE_SECONDS - time.monotonic()
            task = self._pending[queue] = asyncio.create_task(self._send(queue, wait))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, queue: str, wait: float) -> None:
        try:
            if wait > 0:
                await asyncio.sleep(wait)
        finally:
            del self._pending[queue]  # whoever comes now may have committed after this one is sent
        self._sent_at[queue] = time.monotonic()
        try:
            async with self._database.connection() as connection:
                await connection.execute(self._statement, channel_of(queue))
        except HammerworkError as error:
            logger.debug("queue %s: its workers could not be notified: %s", queue, error)

    async def close(self) -> None:
        """Send what is waiting to be sent."""
        pending = list(self._sending)
        try:
            if pending:
                await asyncio.wait(pending, timeout=1)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
