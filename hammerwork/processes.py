"""Workers in several processes, to use more than one core; each is restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

import msgspec

from hammerwork.errors import EXIT_INCOMPATIBLE, HandlerError, IncompatibleDatabaseError
from hammerwork.handlers import load_function
from hammerwork.queue import JobQueue
from hammerwork.threads import any_left
from hammerwork.worker import Worker

logger = logging.getLogger("hammerwork.worker")

_RESTART_SECONDS = (0.1, 0.5, 2.0, 10.0)
_LONG_ENOUGH_SECONDS = 60.0
"""A process that lived this long is restarted as quickly as the first time."""


class WorkerSettings(msgspec.Struct, kw_only=True):
    """What one worker process needs to know; travels to it as a line of JSON on its standard input."""

    database_url: str
    queue: str
    handler: str
    """``module:function`` or ``path/to/file.py:function``, see `hammerwork.handlers.load_function`."""
    concurrency: int = 10
    poll_interval: float = 0.1
    batch_processing: bool = True
    shutdown_grace_period: float = 30.0
    pool: str = ""
    instance: str = ""
    log_level: str = "INFO"

    def __repr__(self) -> str:
        # Without the URL, which holds a password.
        return f"WorkerSettings(queue={self.queue!r}, handler={self.handler!r})"


class WorkerProcesses:
    """Runs workers of one queue in `processes` processes, until `stop`."""

    def __init__(self, settings: WorkerSettings, *, processes: int) -> None:
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
        load_function(self._settings.handler)
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

    async def _run_once(self, settings: WorkerSettings) -> int:
        # The settings hold the database's password: not for the command line, which everybody can read.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hammerwork.processes", stdin=asyncio.subprocess.PIPE, start_new_session=True
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
                await asyncio.wait({ended}, timeout=settings.shutdown_grace_period + 15)
        finally:
            stopped.cancel()
            if not ended.done():
                process.kill()
            await ended
        return ended.result()


async def run_worker(settings: WorkerSettings, parent: int) -> None:
    """Run one worker in this process until SIGTERM or SIGINT, or until the pipe `parent` ends with the parent process.

    Raises:
        HandlerError: The handler cannot be loaded.
        IncompatibleDatabaseError: Only newer versions may work on the database.
    """
    handler = load_function(settings.handler)
    async with await JobQueue.connect(settings.database_url) as queue:
        worker = (
            Worker(queue, settings.queue, handler, pool=settings.pool, instance=settings.instance)
            .with_concurrency(settings.concurrency)
            .with_poll_interval(settings.poll_interval)
            .with_batch_processing_enabled(settings.batch_processing)
            .with_shutdown_grace_period(settings.shutdown_grace_period)
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)

        def parent_is_gone() -> None:
            if not os.read(parent, 1):
                loop.remove_reader(parent)
                worker.stop()

        loop.add_reader(parent, parent_is_gone)
        await worker.run()


def _keep_standard_input() -> int:
    """Move the parent's pipe out of the handler's reach; it and its children find nothing on standard input."""
    parent = os.dup(0)  # closed in whatever is executed
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (a device)
        os.dup2(nothing.fileno(), 0)
    return parent


def _main() -> int:
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSettings)
    parent = _keep_standard_input()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(process)d %(message)s")
    try:
        import uvloop as loops  # noqa: PLC0415 (an extra; the standard loop does as well, more slowly)
    except ModuleNotFoundError:
        run = asyncio.run
    else:
        run = loops.run
    code = 0
    try:
        run(run_worker(settings, parent))
    except HandlerError as error:
        logger.error("%s", error)  # noqa: TRY400 (the message says it all)
        return 2
    except IncompatibleDatabaseError as error:
        logger.error("%s", error)  # noqa: TRY400
        code = EXIT_INCOMPATIBLE
    if any_left():
        logger.warning("a handler is still running; its job returns to the queue")
        logging.shutdown()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(_main())
