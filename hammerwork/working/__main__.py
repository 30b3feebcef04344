"""One of several worker processes: the program that `processes` starts, with its settings on standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import msgspec

from hammerwork.errors import EXIT_INCOMPATIBLE, HandlerError, IncompatibleDatabaseError
from hammerwork.queue import JobQueue
from hammerwork.service.ending import leave_threads_behind
from hammerwork.service.loop import run
from hammerwork.working.portable import provide_authorities
from hammerwork.working.settings import ProcessSettings
from hammerwork.working.threads import any_left
from hammerwork.working.worker import Worker

logger = logging.getLogger("hammerwork.worker")


async def run_worker(settings: ProcessSettings, parent: int) -> None:
    """Run one worker in this process until SIGTERM or SIGINT, or until the pipe `parent` ends with the parent process.

    Raises:
        HandlerError: The handler cannot be loaded.
        IncompatibleDatabaseError: Only newer versions may work on the database.
    """
    handler = settings.handler.load()
    async with await JobQueue.connect(settings.database_url, max_connections=1) as queue:
        worker = Worker.from_settings(queue, settings, handler)
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
    provide_authorities()
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=ProcessSettings)
    parent = _keep_standard_input()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(process)d %(message)s")
    code = 0
    try:
        run(run_worker(settings, parent))
    except HandlerError as error:
        logger.error("%s", error)  # noqa: TRY400 (the message says it all)
        return 2
    except IncompatibleDatabaseError as error:
        logger.error("%s", error)  # noqa: TRY400
        code = EXIT_INCOMPATIBLE
    return leave_threads_behind(code, hanging=any_left(), logger=logger)


if __name__ == "__main__":
    sys.exit(_main())
