"""The record of runs outside of the queue: a file that many processes append to, one write a line.

A line that was written stays, however the process ends. Times are the machine's monotonic clock, which all its
processes share and nobody sets.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hammerwork import Job


class JobKey(msgspec.Struct, frozen=True):
    """A job of any batch."""

    batch_id: UUID
    index: int


class Run(msgspec.Struct):
    """One call of the handler."""

    job: JobKey
    attempt: int
    process: str
    started: float
    ended: float | None = None
    outcome: str | None = None
    """done, fail, refuse, cut (the handler was cancelled), die (the job kills its process); None: no end was seen."""


class Heartbeat(NamedTuple):
    """One heartbeat that the database has confirmed."""

    sent: float
    confirmed: float
    held: frozenset[int] = frozenset()
    """The claims that the worker knew of."""


class Ledger(msgspec.Struct):
    """What all processes have written."""

    runs: list[Run]
    heartbeats: dict[str, list[Heartbeat]]
    """By process."""
    standstills: dict[str, list[tuple[float, float]]]
    """When a process did not get on: it was stopped, or had no processor."""
    workers: dict[UUID, str] = msgspec.field(default_factory=dict)
    """The processes by the ids that their workers have in the database."""


class LedgerWriter:
    """The pen of one process."""

    def __init__(self, path: Path, process: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._process = process
        self._numbers = itertools.count()

    def start(self, job: Job) -> int:
        """Record that a run begins; returns its number."""
        number = next(self._numbers)
        self._write("start", number, job.batch_id, job.index, job.attempt)
        return number

    def end(self, number: int, outcome: str) -> None:
        """Record how a run ended."""
        self._write("end", number, outcome)

    def heartbeat(self, sent: float, worker_id: UUID, held: Sequence[int]) -> None:
        """Record a heartbeat that was confirmed just now, and the claims that it told of."""
        self._write("heartbeat", sent, worker_id, *held)

    def standstill(self, since: float) -> None:
        """Record that the process has stood still until now."""
        self._write("standstill", since)

    def _write(self, *fields: object) -> None:
        line = " ".join(map(str, (time.monotonic(), self._process, *fields)))
        os.write(self._file, f"{line}\n".encode())


def read_ledger(path: Path) -> Ledger:
    """Read what has been written so far."""
    ledger = Ledger([], {}, {})
    open_runs: dict[tuple[str, str], Run] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        moment, process, kind, *fields = line.split()
        at = float(moment)
        if kind == "start":
            number, batch_id, index, attempt = fields
            run = Run(JobKey(UUID(batch_id), int(index)), int(attempt), process, at)
            open_runs[process, number] = run
            ledger.runs.append(run)
        elif kind == "end":
            run = open_runs.pop((process, fields[0]))
            run.ended, run.outcome = at, fields[1]
        elif kind == "heartbeat":
            sent, worker_id, *held = fields
            ledger.workers[UUID(worker_id)] = process
            ledger.heartbeats.setdefault(process, []).append(Heartbeat(float(sent), at, frozenset(map(int, held))))
        else:
            ledger.standstills.setdefault(process, []).append((float(fields[0]), at))
    ledger.runs.sort(key=lambda run: run.started)
    return ledger
