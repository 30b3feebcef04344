"""Runs benchmarks several times and collects their figures."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from benchmarks.figures import FIGURES
from benchmarks.results import Result, describe_machine, summarise
from benchmarks.servers import Server

if TYPE_CHECKING:
    from collections.abc import Sequence


FULL_JOBS = 500_000
"""Jobs of the throughput benchmarks; fewer make all benchmarks smaller."""


class Load(msgspec.Struct, frozen=True):
    """Where to measure, and with how much."""

    server: Server
    jobs: int = FULL_JOBS

    def scaled(self, full: int, *, least: int) -> int:
        """Return `full` jobs, or fewer (not below `least`) when everything is made smaller."""
        return max(least, round(full * min(1.0, self.jobs / FULL_JOBS)))


class Benchmark(msgspec.Struct, frozen=True):
    """Something to run that gives figures."""

    name: str
    system: str
    run: Callable[[Load], Awaitable[dict[str, float]]]
    """Returns figures by name. It raises unless every job was counted exactly once."""
    max_runs: int = 5
    """For what is slow, or steady."""


async def measure(benchmarks: Sequence[Benchmark], load: Load, runs: int) -> list[Result]:
    """Run each benchmark `runs` times. The rounds go over all of them, so that a noisy minute hits all alike."""
    values: dict[tuple[str, str], list[float]] = {}
    for turn in range(runs):
        for benchmark in benchmarks:
            if turn >= benchmark.max_runs:
                continue
            started = time.perf_counter()
            figures = await benchmark.run(load)
            for name, value in figures.items():
                values.setdefault((name, benchmark.system), []).append(value)
            shown = ", ".join(f"{name} {number(value)} {FIGURES[name].unit}" for name, value in figures.items())
            say(
                f"round {turn + 1} of {runs}: {benchmark.system}: {benchmark.name}: {shown} "
                f"({time.perf_counter() - started:.0f} s)"
            )
    machine = describe_machine(load.server.version)
    return [
        summarise(name, system, of_runs, unit=FIGURES[name].unit, machine=machine)
        for (name, system), of_runs in values.items()
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest of the values that at least `percent` % of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def number(value: float) -> str:
    """Return a value as people read it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def say(message: str) -> None:
    """Show progress."""
    print(message, file=sys.stderr, flush=True)
