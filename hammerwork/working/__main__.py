"""One of several worker processes: the program that `processes` starts, with its settings on standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import msgspec

from hammerwork.errors import (
    EXIT_BAD_CONFIGURATION,
    EXIT_INCOMPATIBLE,
    DatabaseRefusedError,
    HandlerError,
    IncompatibleDatabaseError,
)
from hammerwork.service import logs
from hammerwork.service.ending import leave_threads_behind
from hammerwork.service.loop import run
from hammerwork.working.portable import provide_authorities
from hammerwork.working.reporting import Reporter
from hammerwork.working.running import WorkerRun
from hammerwork.working.settings import ProcessSettings
from hammerwork.working.threads import any_left

logger = logging.getLogger("hammerwork.worker")


async def work(worker: WorkerRun, parent: int) -> None:
    """Work until SIGTERM or SIGINT, or until the socket `parent` ends with the parent process."""
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
    """Move the parent's socket out of the handler's reach; it and its children find nothing on standard input."""
    parent = os.dup(0)  # closed in whatever is executed
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (a device)
        os.dup2(nothing.fileno(), 0)
    return parent


def _main() -> int:
    provide_authorities()
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=ProcessSettings)
    parent = _keep_standard_input()
    logs.configure(settings.log_level, settings.log_format, with_process=True)
    worker = WorkerRun(settings)
    reporter = Reporter(parent, worker.report)
    reporter.start()
    code, failure = 0, None
    try:
        worker.load()  # a SIGTERM meanwhile ends the process at once: nothing has been claimed
        run(work(worker, parent))
    except IncompatibleDatabaseError as error:
        logger.error("%s", error)  # noqa: TRY400 (the message says it all)
        code = EXIT_INCOMPATIBLE
    except (HandlerError, DatabaseRefusedError) as error:
        code, failure = EXIT_BAD_CONFIGURATION, str(error)
    reporter.stop(failure)
    return leave_threads_behind(code, hanging=any_left(), logger=logger)


if __name__ == "__main__":
    sys.exit(_main())
