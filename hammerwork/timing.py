"""Leases, time-outs and intervals, in seconds, and what must hold between them (see `broken_rules`)."""

from __future__ import annotations

LEASE_SECONDS = 30.0
"""A worker that has not been heard of for this long, while others were, is taken for dead; its jobs go back."""

HEARTBEATS_PER_LEASE = 6

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
        "the upkeep is taken over well within a lease": 4 * UPKEEP_ORPHANED_SECONDS < LEASE_SECONDS,
        "a pause of the upkeep is noticed": UPKEEP_ORPHANED_SECONDS > 2 * UPKEEP_SECONDS,
        "polling is bounded": POLL_SECONDS <= IDLE_POLL_SECONDS,
    }
    return [rule for rule, holds in rules.items() if not holds]
