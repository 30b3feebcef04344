"""The heartbeats of a worker, from a thread of their own: a handler that holds the event loop stops none of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from hammerwork.errors import HammerworkError, IncompatibleDatabaseError
from hammerwork.timing import (
    DEREGISTER_SECONDS,
    EXCHANGE_SECONDS,
    HEARTBEATS_PER_LEASE,
    RECOVER_SECONDS,
    UPKEEP_ORPHANED_SECONDS,
    UPKEEP_SECONDS,
    backoff,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork.backends.protocol import Backend, Heard, Lifeline, WorkerRecord

logger = logging.getLogger("hammerwork.worker")

_TURNS_MISSED = 3
"""After so many turns that somebody else took, a worker leaves the upkeep to them."""


class Pulse:
    """Keeps a worker registered, hears notifications for it, and does the upkeep of the database when nobody else does.

    Args:
        backend: The database.
        record: Returns what the worker has done so far.
        held: Returns the ids of the claims that the worker holds. Both are called in the thread.
        heard: Called in the worker's event loop with each answer to a heartbeat.
        wake: Called there when jobs have become ready.
        outdated: Called there, once, when only newer versions may work on the database any more. The heartbeats go on
            until `stop`, the upkeep does not.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        record: Callable[[], WorkerRecord],
        held: Callable[[], list[int]],
        heard: Callable[[Heard], None],
        wake: Callable[[], None],
        outdated: Callable[[IncompatibleDatabaseError], None],
    ) -> None:
        self._backend = backend
        self._record = record
        self._held = held
        self._on_heard = heard
        self._on_wake = wake
        self._on_outdated = outdated
        first = record()
        self._id = first.id
        self._queue = first.queue
        self._interval = first.lease_seconds / HEARTBEATS_PER_LEASE
        self._upkeep_seconds = min(UPKEEP_SECONDS, self._interval)
        self._known: WorkerRecord | None = None
        self._line: Lifeline | None = None
        self._leads = True  # somebody has to, and may have left just now
        self._turns_missed = 0
        self._outdated = False
        self._stop: asyncio.Event | None = None
        self._ended: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self.heard_at = float("-inf")
        """When the last heartbeat was sent that was answered, by the monotonic clock."""
        self.notified = False
        """Whether notifications arrive."""

    @property
    def interval(self) -> float:
        """Seconds between heartbeats."""
        return self._interval

    def start(self) -> None:
        """Begin, from the worker's event loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), name="hammerwork-pulse", daemon=True)
        thread.start()
        ready.wait()

    async def stop(self) -> None:
        """Send a last heartbeat, deregister and end; after a few seconds without an answer, leave that to the lease."""
        assert self._ended is not None
        assert self._own_loop is not None
        assert self._stop is not None
        try:
            self._own_loop.call_soon_threadsafe(self._stop.set)
        except RuntimeError:
            return  # the thread has ended
        await asyncio.wait([self._ended], timeout=DEREGISTER_SECONDS)

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._main(ready))
        except BaseException:
            logger.exception("queue %s: the heartbeats of worker %s have ended", self._queue, self._id)
        finally:
            self._tell(self._note_end)

    def _note_end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the worker's event loop is closed: there is no worker any more
            self._loop.call_soon_threadsafe(call, *args)

    async def _main(self, ready: threading.Event) -> None:
        self._own_loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        ready.set()
        failures = 0
        next_beat = next_upkeep = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_beat:
                    await self._beat()
                    next_beat = time.monotonic() + self._interval * random.uniform(0.9, 1.0)  # noqa: S311 (spreads load)
                if self._leads and time.monotonic() >= next_upkeep:
                    next_upkeep = time.monotonic() + self._upkeep_seconds
                    await self._upkeep()
                failures = 0
                pause = min(next_beat, next_upkeep if self._leads else next_beat) - time.monotonic()
            except Exception as error:  # noqa: BLE001 (whatever it is, a worker without heartbeats is lost)
                pause = min(backoff(failures), self._interval)
                failures += 1
                next_beat = 0.0
                self._leads = False
                if isinstance(error, IncompatibleDatabaseError):
                    self._note_outdated(error)
                report = logger.warning if isinstance(error, HammerworkError) else logger.exception
                report("heartbeat failed: %s; retrying in %.1f s", error, pause)
                await self._close_line()
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._stop.wait()
                except TimeoutError:
                    pass
        await self._sign_off()

    async def _beat(self) -> None:
        if self._line is None:
            self._line = await self._backend.lifeline(self._queue, lambda: self._tell(self._on_wake))
            self.notified = self._line.notified
        held = self._held()
        record = self._record()
        sent = time.monotonic()
        heard = await self._line.heartbeat(record, self._known, held)
        if self._known is None and record.instance:
            await self._line.replace(record.id, record.instance)
        self._known = record
        self.heard_at = sent
        self._tell(self._on_heard, heard)
        if heard.outdated is not None:
            self._note_outdated(heard.outdated)
        # Below 0 where the server's clock has been set back since.
        orphaned = abs(heard.upkeep_idle) > UPKEEP_ORPHANED_SECONDS * min(1.0, self._upkeep_seconds / UPKEEP_SECONDS)
        if orphaned and not self._outdated:
            self._leads = True
        if heard.undelivered:
            jobs = await self._line.recover(record.id, held, older_than=RECOVER_SECONDS)
            logger.warning("queue %s: recovered %d jobs of claims that never reached this worker", self._queue, jobs)

    def _note_outdated(self, error: IncompatibleDatabaseError) -> None:
        if not self._outdated:
            self._outdated, self._leads = True, False
            self._tell(self._on_outdated, error)

    async def _upkeep(self) -> None:
        assert self._line is not None
        done = await self._line.upkeep(self._upkeep_seconds)
        if done.released:
            logger.warning("queue %s: recovered %d jobs of lost workers", self._queue, done.released)
        self._turns_missed = 0 if done.turn else self._turns_missed + 1
        if self._turns_missed >= _TURNS_MISSED:
            self._leads, self._turns_missed = False, 0

    async def _sign_off(self) -> None:
        if self._known is None:
            await self._close_line()
            return
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                if self._line is None:
                    self._line = await self._backend.lifeline(self._queue, lambda: None)
                await self._line.heartbeat(self._record(), self._known, self._held())
                await self._line.retire(self._id)
        except Exception as error:  # noqa: BLE001
            logger.warning("could not deregister, the lease will expire: %s", error)
        finally:
            await self._close_line()

    async def _close_line(self) -> None:
        line, self._line, self.notified = self._line, None, False
        if line is not None:
            await line.close()
