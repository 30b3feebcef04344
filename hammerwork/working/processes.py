"""Workers in several processes, to use more than one core; each is restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import (
    EXIT_BAD_CONFIGURATION,
    EXIT_INCOMPATIBLE,
    HammerworkError,
    IncompatibleDatabaseError,
)
from hammerwork.reports import WorkerStats
from hammerwork.timing import PROCESS_END_SECONDS, REPORT_SECONDS, STUCK_SECONDS
from hammerwork.working.portable import this_python
from hammerwork.working.reporting import ProcessReport, sum_stats

if TYPE_CHECKING:
    from hammerwork.working.settings import ProcessSettings

logger = logging.getLogger("hammerwork.worker")

_RESTART_SECONDS = (0.1, 0.5, 2.0, 10.0)
_LONG_ENOUGH_SECONDS = 60.0
"""A process that lived this long is restarted as quickly as the first time."""


class _Slot(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a process. Replaced as a whole, since other threads look at it."""

    past: WorkerStats = msgspec.field(default_factory=WorkerStats)
    """What the earlier processes here have done."""
    report: ProcessReport = ProcessReport(not_ready="starting")
    heard_at: float | None = None
    """When its process reported last, by the monotonic clock; None while there is none."""


class WorkerProcesses:
    """Runs workers of one queue in `processes` processes, until `stop`."""

    def __init__(self, settings: ProcessSettings, *, processes: int) -> None:
        if processes < 1:
            raise ValueError(f"workers of queue {settings.queue!r}: {processes} processes: must be at least 1")
        self._settings = settings
        self._slots = [_Slot() for _ in range(processes)]
        self._stopping = asyncio.Event()
        self._has_worked = False
        self._failure: HammerworkError | None = None

    def stop(self) -> None:
        """Have all processes finish what they run; `run` returns then."""
        self._stopping.set()

    def report(self) -> ProcessReport:
        """Return how the processes are, and what they have done, together; may be called in any thread.

        Counts are those of a second ago, and what a process that dies did in its last second is not among them.
        """
        slots = list(self._slots)
        return ProcessReport(
            stats=sum_stats(stats for slot in slots for stats in (slot.past, slot.report.stats)),
            busy_lanes=sum(slot.report.busy_lanes for slot in slots),
            not_ready=_first_said([slot.report.not_ready for slot in slots]),
            unhealthy=_first_said([slot.report.unhealthy or _silent(slot) for slot in slots]),
        )

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            IncompatibleDatabaseError: Only newer versions may work on the database any more; all processes have ended.
            HammerworkError: The handler cannot be loaded, or the database refuses, before any process has worked.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._slots)):
                group.create_task(self._supervise(number))
        if self._failure is not None:
            raise self._failure

    async def _supervise(self, number: int) -> None:
        settings = self._settings
        if settings.instance:
            # Each process is the only one of its name, so a new one frees at once what a dead one held.
            settings = msgspec.structs.replace(settings, instance=f"{settings.instance}/{number}")
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            started = loop.time()
            code = await self._run_once(number, settings)
            if self._stopping.is_set():
                return
            failures = 0 if loop.time() - started > _LONG_ENOUGH_SECONDS else failures + 1
            pause = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS)) - 1] if failures else 0.0
            logger.error(
                "queue %s: worker process %d exited with %d; restarting it in %.1f s",
                settings.queue,
                number,
                code,
                pause,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _run_once(self, number: int, settings: ProcessSettings) -> int:
        """Run a process in a place to its end; return its exit code, EX_OSERR if the system starts none."""
        # The settings hold the database's password. They travel as a line of JSON on standard input, not on the command
        # line, which everybody can read. The reports come back the same way.
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    *this_python(),
                    "-m",
                    "hammerwork.working",
                    stdin=theirs.fileno(),
                    start_new_session=True,
                    env=dict(os.environ),  # without what `provide_authorities` has set
                )
            except BaseException as error:
                writer.close()
                if not isinstance(error, OSError):
                    raise
                # Such as too many processes; the others go on.
                logger.error("worker process %d cannot be started: %s", number, error)  # noqa: TRY400
                return os.EX_OSERR
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stopping.wait())
        listening = asyncio.create_task(self._listen(number, reader))
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(msgspec.json.encode(settings) + b"\n")
                await writer.drain()
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                await asyncio.wait({ended}, timeout=settings.shutdown_grace_period_seconds + PROCESS_END_SECONDS)
        finally:
            stopped.cancel()
            if not ended.done():
                process.kill()
            await ended
            await asyncio.wait({listening}, timeout=REPORT_SECONDS)  # a child of a handler may hold the other end still
            listening.cancel()
            writer.close()
            self._take_note(number, ended.result())
        return ended.result()

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        self._slots[number] = msgspec.structs.replace(self._slots[number], heard_at=time.monotonic())
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                report = msgspec.json.decode(line, type=ProcessReport)
                self._has_worked = self._has_worked or report.not_ready is None
                self._slots[number] = _Slot(past=self._slots[number].past, report=report, heard_at=time.monotonic())

    def _take_note(self, number: int, code: int) -> None:
        """Keep what the process of a place has done, and end all of them where to start it again would not help."""
        ended = self._slots[number]
        self._slots[number] = _Slot(past=sum_stats([ended.past, ended.report.stats]))
        if self._stopping.is_set():
            return
        if code == EXIT_INCOMPATIBLE:
            self._failure = IncompatibleDatabaseError(
                f"queue {self._settings.queue}: a worker process has found that the database needs a newer version"
            )
        elif code == EXIT_BAD_CONFIGURATION and ended.report.error is not None and not self._has_worked:
            self._failure = HammerworkError(ended.report.error)
        if self._failure is not None:
            self.stop()


def _silent(slot: _Slot) -> str | None:
    if slot.heard_at is None or (silent := time.monotonic() - slot.heard_at) < STUCK_SECONDS:
        return None
    return f"no report for {silent:.0f} s"


def _first_said(texts: list[str | None]) -> str | None:
    """Return what the first process says that says anything, and which one that is."""
    said = ((number, text) for number, text in enumerate(texts) if text is not None)
    return next((f"worker process {number} of {len(texts)}: {text}" for number, text in said), None)
