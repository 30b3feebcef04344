"""Benchmarks of this queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Benchmark
from benchmarks.ours.commands import PARALLEL, commands, lines, parallel
from benchmarks.ours.progress import progress
from benchmarks.ours.raw_copy import raw_copy
from benchmarks.ours.throughput import drain_with_two, enqueue_and_drain, enqueue_streamed, pipeline
from benchmarks.ours.waiting import handlers_of_10ms, mixed_durations, pickup, sleeps_of_10ms, slow_jobs
from benchmarks.ours.wire import round_trips
from benchmarks.servers import Postgres

if TYPE_CHECKING:
    from benchmarks.servers import Server


def our_benchmarks(server: Server) -> list[Benchmark]:
    """Return the benchmarks that can run on a server."""
    system = server.system
    benchmarks = [
        Benchmark("enqueue-drain", system, enqueue_and_drain),
        Benchmark("drain-two", system, drain_with_two),
        Benchmark("streamed", system, enqueue_streamed, max_runs=3),
        Benchmark("pipeline", system, pipeline),
        Benchmark("handlers-10ms", system, handlers_of_10ms, max_runs=3),
        Benchmark("mixed-durations", system, mixed_durations, max_runs=3),
        Benchmark("slow-jobs", system, slow_jobs, max_runs=2),
        Benchmark("pickup", system, pickup, max_runs=3),
        Benchmark("progress", system, progress, max_runs=1),
        Benchmark("round-trips", system, round_trips, max_runs=1),
    ]
    if isinstance(server, Postgres):
        benchmarks.insert(1, Benchmark("raw-copy", "asyncpg", raw_copy))
        benchmarks.insert(5, Benchmark("sleeps-10ms", "asyncio", sleeps_of_10ms, max_runs=3))
        benchmarks += [
            Benchmark("exec", system, commands, max_runs=3),
            *([Benchmark("exec", "GNU parallel", parallel, max_runs=3)] if PARALLEL is not None else []),
            Benchmark("stream", system, lines, max_runs=3),
        ]
    return benchmarks
