"""The first process of a container: it inherits the orphans of all others, and must take note of their ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)


def leave_init_behind() -> None:
    """Where this is process 1, return in a child of it; elsewhere do nothing. Call it before there are any threads.

    Process 1 stays for nothing but to reap: the worker itself must not, or it would take the exit status of children
    from whoever in the handler waits for them. It passes signals on, and ends with the child's exit code (128 + the
    number of the signal that killed it).
    """
    if os.getpid() != 1:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked before there is a child, so that none is missed. Process 1 is sent no signal that it does not ask for.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    child = os.fork()
    if child:
        os._exit(_reap_until_end_of(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap_until_end_of(child: int) -> int:
    while True:
        number = signal.sigwait(FORWARDED | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        while True:  # several children may have ended for one signal
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if ended == 0:
                break
