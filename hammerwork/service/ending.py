"""The end of a program."""

from __future__ import annotations

import logging
import os
import sys


def leave_threads_behind(code: int, *, hanging: bool, logger: logging.Logger | None = None) -> int:
    """Return `code`, or end the process with it at once if a handler's thread hangs: Python would wait for the thread.

    Args:
        code: The exit code.
        hanging: Whether a handler's thread still runs.
        logger: Is told of a handler that hangs.
    """
    if hanging:
        if logger is not None:
            logger.warning("a handler is still running; its job goes back to the queue")
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
