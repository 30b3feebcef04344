"""Workers in several processes, to use more than one core; each is restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import EXIT_INCOMPATIBLE, IncompatibleDatabaseError
from hammerwork.timing import PROCESS_END_SECONDS
from hammerwork.working.portable import this_python

if TYPE_CHECKING:
    from hammerwork.working.settings import ProcessSettings

logger = logging.getLogger("hammerwork.worker")

_RESTART_SECONDS = (0.1, 0.5, 2.0, 10.0)
_LONG_ENOUGH_SECONDS = 60.0
"""A process that lived this long is restarted as quickly as the first time."""


class WorkerProcesses:
    """Runs workers of one queue in `processes` processes, until `stop`."""

    def __init__(self, settings: ProcessSettings, *, processes: int) -> None:
        if processes < 1:
            raise ValueError(f"workers of queue {settings.queue!r}: {processes} processes: must be at least 1")
        self._settings = settings
        self._processes = processes
        self._stopping = asyncio.Event()
        self._outdated = False

    def stop(self) -> None:
        """Have all processes finish what they run; `run` returns then."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            HandlerError: The handler cannot be loaded; found out before any process is started.
            IncompatibleDatabaseError: Only newer versions may work on the database any more; all processes have ended.
        """
        self._settings.handler.load()
        async with asyncio.TaskGroup() as group:
            for number in range(self._processes):
                group.create_task(self._supervise(number))
        if self._outdated:
            raise IncompatibleDatabaseError(
                f"queue {self._settings.queue}: a worker process has found that the database needs a newer version"
            )

    async def _supervise(self, number: int) -> None:
        settings = self._settings
        if settings.instance:
            # Each process is the only one of its name, so a new one frees at once what a dead one held.
            settings = msgspec.structs.replace(settings, instance=f"{settings.instance}/{number}")
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            started = loop.time()
            code = await self._run_once(settings)
            if code == EXIT_INCOMPATIBLE:
                self._outdated = True
                self.stop()
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
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_once(self, settings: ProcessSettings) -> int:
        # The settings hold the database's password. They travel as a line of JSON on standard input, not on the command
        # line, which everybody can read.
        process = await asyncio.create_subprocess_exec(
            *this_python(),
            "-m",
            "hammerwork.working",
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=os.environ,  # without what `provide_authorities` has set
        )
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(msgspec.json.encode(settings) + b"\n")
                await process.stdin.drain()
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                await asyncio.wait({ended}, timeout=settings.shutdown_grace_period_seconds + PROCESS_END_SECONDS)
        finally:
            stopped.cancel()
            if not ended.done():
                process.kill()
            await ended
        return ended.result()
