"""Leases, time-outs and intervals, in seconds, and what must hold between them (see `broken_rules`)."""

from __future__ import annotations

LEASE_SECONDS = 30.0
"""A worker that has not been heard of for this long, while others were, is taken for dead; its jobs go back."""

HEARTBEATS_PER_LEASE = 6

SILENT_HEARTBEATS = 1.5
"""A worker whose Pod seems to be gone is taken for dead after so many heartbeats' time without one."""

READY_HEARTBEATS = 3
"""A worker claims nothing more after so many heartbeats without an answer."""

GIVE_BACK_SHARE = 0.8
"""After this share of its lease without an answer, a worker gives back what has not started."""

EXCHANGE_SECONDS = 10.0
"""A worker gives an exchange up after this, and uses no claim that it gets later."""

SERVER_LOCK_SECONDS = 8.0
"""The server gives up waiting for a lock before the worker does (``lock_timeout`` in the .sql files)."""

RECOVER_SECONDS = 2 * EXCHANGE_SECONDS
"""A claim this old that its worker does not know of never reached it. The list of those it knows may be as old as an
exchange takes, and so may be the answer that a claim is on its way in."""

STATEMENT_SECONDS = 60.0
"""No statement of ours comes near it; it ends the wait on a connection whose other end is gone."""

STEERING_LOCK_SECONDS = 50.0
"""As `SERVER_LOCK_SECONDS`, for what is called with `STATEMENT_SECONDS`."""

CANCEL_SECONDS = 3.0
"""How long a server has to end a statement that is given up; then its connection is dropped all the same."""

CLOSE_SECONDS = 5.0
"""How long `JobQueue.close` waits for the connections."""

UPKEEP_SECONDS = 1.0
"""Due retries, lost claims and the clock of the leases are looked after this often, by one process at a time."""

UPKEEP_ORPHANED_SECONDS = 3.0
"""Whoever sees that nobody has done the upkeep for this long takes it over."""

POLL_SECONDS = 0.1
"""How often an idle worker looks for work where the database does not notify it."""

IDLE_POLL_SECONDS = 1.0
"""Up to this the interval grows while there is nothing to do."""

GRACE_SECONDS = 30.0
"""Running jobs of a worker that is told to stop may go on this long; then they are given back."""

COMMAND_END_SECONDS = 5.0
"""A handler's command whose job is cut short has this long between SIGTERM and SIGKILL."""

LAST_REPORTS_SECONDS = 5.0
"""After its grace period, a worker reports what it has cut short for this long at most."""

DEREGISTER_SECONDS = EXCHANGE_SECONDS + 5.0
"""Then it waits this long for its last heartbeat and for the end of its lifeline."""

PROCESS_END_SECONDS = 38.0
"""A worker process that is told to stop is killed this long after its grace period."""

POD_END_SECONDS = 40.0
"""So is a worker's Pod."""

LOOK_SECONDS = 0.25
"""A worker looks this often whether its event loop turns."""

HELD_SECONDS = 0.5
"""No further job starts while the loop has not turned for this long."""

NAMED_SECONDS = 1.0
"""An async handler that keeps the loop from turning for this long is named in the log."""

STUCK_SECONDS = 15.0
"""A worker that runs no job has stopped working if its loop has not turned for this long."""

STUCK_BUSY_SECONDS = 600.0
"""The same while jobs run: handlers should not hold the loop, but to end the worker only repeats its jobs."""

REPORT_SECONDS = 1.0
"""Each of several worker processes reports this often how it is, and what it has done. One that reports nothing for
`STUCK_SECONDS` has stopped working."""

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses of a worker after one, two, … failures in a row; the last one from then on."""


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures before this one."""
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]


def broken_rules() -> list[str]:
    """Return which of the rules between these numbers do not hold."""
    rules = {
        "the server gives up before the worker": SERVER_LOCK_SECONDS < EXCHANGE_SECONDS,
        "the server gives up before the client": STEERING_LOCK_SECONDS < STATEMENT_SECONDS,
        "a claim on its way is not recovered": RECOVER_SECONDS >= 2 * EXCHANGE_SECONDS,
        "a dead connection costs no lease": 2 * EXCHANGE_SECONDS + LEASE_SECONDS / HEARTBEATS_PER_LEASE < LEASE_SECONDS,
        "a worker without answers claims nothing, then gives back, then loses its lease": (
            READY_HEARTBEATS / HEARTBEATS_PER_LEASE < GIVE_BACK_SHARE < 1
        ),
        "a statement that is given up ends sooner than an exchange": CANCEL_SECONDS < EXCHANGE_SECONDS,
        "a heartbeat that is due has time to come": 1 < SILENT_HEARTBEATS < READY_HEARTBEATS,
        "the upkeep is taken over well within a lease": 4 * UPKEEP_ORPHANED_SECONDS < LEASE_SECONDS,
        "a pause of the upkeep is noticed": UPKEEP_ORPHANED_SECONDS > 2 * UPKEEP_SECONDS,
        "a worker that stops has ended before its process is killed": (
            # Processes that stay end after the one whose job was cut short.
            2 * COMMAND_END_SECONDS + LAST_REPORTS_SECONDS + DEREGISTER_SECONDS + CLOSE_SECONDS < PROCESS_END_SECONDS
        ),
        "the processes of a Pod have ended before it is killed": PROCESS_END_SECONDS < POD_END_SECONDS,
        "a worker gives up deregistering before it is waited for no more": EXCHANGE_SECONDS < DEREGISTER_SECONDS,
        "polling is bounded": POLL_SECONDS <= IDLE_POLL_SECONDS,
        "whoever sees a held loop has looked in time": LOOK_SECONDS < HELD_SECONDS,
        "a handler that holds the loop is named before the worker ends": HELD_SECONDS <= NAMED_SECONDS < STUCK_SECONDS,
        "a process that is slow to report is not taken for stuck": 10 * REPORT_SECONDS < STUCK_SECONDS,
        "an idle worker that is stuck ends within its lease": STUCK_SECONDS < LEASE_SECONDS,
        "a busy worker is not ended for what its heartbeats cover": STUCK_BUSY_SECONDS > LEASE_SECONDS,
    }
    return [rule for rule, holds in rules.items() if not holds]
