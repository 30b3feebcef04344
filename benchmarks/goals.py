"""The goals, and whether results reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.servers import MariaDB, Postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Result

_POSTGRES = Postgres.system
_MARIADB = MariaDB.system
_COPY = "asyncpg"
_ASYNCIO = "asyncio"
_PARALLEL = "GNU parallel"
_OPERATOR = "operator, PostgreSQL"
_OWN = {_POSTGRES, _MARIADB, _COPY, _ASYNCIO, _PARALLEL, _OPERATOR}


class Goal(msgspec.Struct, frozen=True):
    """A limit for a figure of one system, as it is or relative to another figure."""

    meaning: str
    figure: str
    limit: float
    system: str = _POSTGRES
    at_most: bool = False
    """The value must not exceed the limit; otherwise it must not fall below it."""
    unit: str = ""
    relative_to: tuple[str, str] | None = None
    """Figure and system to divide by; system ``best peer`` is the peer with the highest value of `peer_figures`."""


class Verdict(msgspec.Struct, frozen=True):
    """A goal beside what was measured."""

    goal: Goal
    measured: float | None
    """None: there are no results to tell."""
    compared_with: str = ""
    """The peer, where it is the best one of several."""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None when nothing was measured."""
        if self.measured is None:
            return None
        limit = self.goal.limit
        return self.measured <= limit if self.goal.at_most else self.measured >= limit


BEST_PEER = "best peer"
_DRAINS = ("drain-1", "drain-2")

GOALS = (
    Goal("Enqueue ÷ raw COPY", "enqueue", 2.5, relative_to=("raw-copy", _COPY), unit="×"),
    Goal("Enqueue ÷ best peer", "enqueue", 12, relative_to=("enqueue", BEST_PEER), unit="×"),
    Goal("Drain, one process ÷ best peer", "drain-1", 6, relative_to=("drain", BEST_PEER), unit="×"),
    Goal("Drain, two processes ÷ best peer", "drain-2", 10, relative_to=("drain", BEST_PEER), unit="×"),
    Goal("Enqueue, MariaDB ÷ PostgreSQL", "enqueue", 0.4, _MARIADB, relative_to=("enqueue", _POSTGRES), unit="×"),
    Goal("Drain, MariaDB ÷ PostgreSQL", "drain-1", 0.5, _MARIADB, relative_to=("drain-1", _POSTGRES), unit="×"),
    Goal("`exec` ÷ GNU parallel", "exec", 4, relative_to=("exec", _PARALLEL), unit="×"),
    Goal("`stream` ÷ `exec`", "stream", 20, relative_to=("exec", _POSTGRES), unit="×"),
    Goal("Handlers of 10 ms in 100 lanes", "handlers-10ms", 95, unit="% of ideal"),
    Goal(
        "The same ÷ asyncio without a queue", "handlers-10ms", 0.95, relative_to=("handlers-10ms", _ASYNCIO), unit="×"
    ),
    Goal("200 jobs of 1 s on two workers of ten lanes", "slow-jobs", 1.15, at_most=True, unit="× ideal"),
    Goal("Pick-up of one job, median", "pickup-p50", 3, at_most=True, unit="ms"),
    Goal("Pick-up of one job, 99th percentile", "pickup-p99", 20, at_most=True, unit="ms"),
    Goal("Counts of a million loaded jobs", "progress-p99", 10, at_most=True, unit="ms"),
    Goal("Counts after a million single claims", "progress-claimed-p99", 10, at_most=True, unit="ms"),
    Goal("Memory to stream a million jobs", "enqueue-memory", 60, at_most=True, unit="MiB"),
    Goal("Memory of a worker", "worker-memory", 120, at_most=True, unit="MiB"),
    Goal("Round trips, batch of 1,000", "round-trips-batch", 5, at_most=True, unit="per 1,000 jobs"),
    Goal("Round trips, stream", "round-trips-stream", 5, at_most=True, unit="per 1,000 jobs"),
    Goal("Round trips, drain", "round-trips-drain", 5, at_most=True, unit="per 1,000 jobs"),
    Goal("Status queries of the operator, 100 running batches", "operator-status-queries", 1, _OPERATOR, True, "/s"),
    Goal("Its writes while nothing changes", "operator-writes", 0, _OPERATOR, at_most=True),
    Goal("Its memory, 5,000 batches", "operator-memory", 200, _OPERATOR, at_most=True, unit="MiB"),
    Goal("Its start, 5,000 batches", "operator-start", 30, _OPERATOR, at_most=True, unit="s"),
    Goal("A new batch beside them Enqueued, 95th percentile", "operator-enqueued-p95", 1000, _OPERATOR, True, "ms"),
)


def judge(goal: Goal, results: Sequence[Result]) -> Verdict:
    """Compare a goal with the results."""
    own = _find(results, goal.figure, goal.system)
    if own is None:
        return Verdict(goal, None)
    if goal.relative_to is None:
        return Verdict(goal, own.value)
    figure, system = goal.relative_to
    other = best_peer(results, figure) if system == BEST_PEER else _find(results, figure, system)
    if other is None:
        return Verdict(goal, None)
    return Verdict(goal, own.value / other.value, other.system if system == BEST_PEER else "")


def best_peer(results: Sequence[Result], figure: str) -> Result | None:
    """Return the highest result of a peer; ``drain`` is the better one of one and two processes."""
    figures = _DRAINS if figure == "drain" else (figure,)
    peers = [result for result in results if result.name in figures and result.system not in _OWN]
    return max(peers, key=lambda result: result.value, default=None)


def _find(results: Sequence[Result], figure: str, system: str) -> Result | None:
    return next((result for result in results if (result.name, result.system) == (figure, system)), None)
