"""The figures: what each one is called in the results, its unit, and what it means."""

from __future__ import annotations

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """Something that is measured."""

    name: str
    unit: str
    meaning: str


_ALL = (
    Figure("enqueue", "jobs/s", "Enqueue of one batch; its jobs exist before the clock starts"),
    Figure("enqueue-streamed", "jobs/s", "The same from a generator that makes the jobs on the way"),
    Figure(
        "raw-copy", "jobs/s", "The driver's binary COPY of the same rows, from one buffer, into a copy of the table"
    ),
    Figure(
        "drain-1", "jobs/s", "No-op jobs, one worker process, from its start to the last job's outcome in the database"
    ),
    Figure("drain-2", "jobs/s", "No-op jobs, two worker processes"),
    Figure("pipeline", "jobs/s", "Batches are enqueued and drained at the same time, one worker process"),
    Figure(
        "exec",
        "jobs/s",
        "The command `true` for each job, payload on standard input, ten lanes of one worker; `parallel -j4`: without",
    ),
    Figure(
        "stream", "jobs/s", "A line for each job to one Python process that answers it, 100 lanes of one worker process"
    ),
    Figure(
        "handlers-10ms",
        "% of ideal",
        "Sleeps of 10 ms in 100 lanes of one worker, and in asyncio alone; ideal is jobs × 10 ms ÷ 100",
    ),
    Figure("mixed-durations", "% of ideal", "Handlers of 1 to 100 ms, two workers of 20 lanes; ideal is the sum ÷ 40"),
    Figure("slow-jobs", "× ideal", "200 jobs of 1 s, two workers of ten lanes, batch size 100; ideal is 10 s"),
    Figure(
        "pickup-p50", "ms", "From the return of the call that enqueues one job to its start in an idle worker: median"
    ),
    Figure("pickup-p99", "ms", "The same: 99th percentile"),
    Figure("enqueue-to-start-p50", "ms", "From the beginning of that call, its commit to disk included: median"),
    Figure("enqueue-to-start-p99", "ms", "The same: 99th percentile"),
    Figure("progress-p99", "ms", "Counts of a loaded batch of a million: 99th percentile of 200 queries"),
    Figure("progress-claimed-p99", "ms", "The same after a million claims of a single job, while the last ones run"),
    Figure("enqueue-memory", "MiB", "Memory that streaming a million jobs adds to the process"),
    Figure("worker-memory", "MiB", "Most memory of the worker process in drain-1"),
    Figure("enqueue-wal", "bytes/job", "WAL that enqueue writes"),
    Figure("drain-wal", "bytes/job", "WAL that drain-1 writes"),
    Figure("round-trips-batch", "per 1,000 jobs", "Round trips to enqueue a batch of 1,000"),
    Figure("round-trips-stream", "per 1,000 jobs", "Round trips to enqueue a stream"),
    Figure("round-trips-drain", "per 1,000 jobs", "Round trips of one worker that drains, batch size 1,000"),
    Figure(
        "operator-status-queries",
        "/s",
        "Queries for the counts of batches, of an operator with 100 running and 4,900 finished batches in one "
        "database, as pg_stat_statements counts them",
    ),
    Figure(
        "operator-statements",
        "/s",
        "All its statements there: this, the check of the version, four of the upkeep; every 5 s the workers",
    ),
    Figure(
        "operator-writes",
        "",
        "Its writes to batches, pools and events in 20 s in which nothing changes, as the API server counts them",
    ),
    Figure("operator-memory", "MiB", "Its resident memory then, 100 new batches later"),
    Figure(
        "operator-start",
        "s",
        "From the start of its process beside 4,900 finished batches to a new one's condition Enqueued",
    ),
    Figure(
        "operator-enqueued-p50",
        "ms",
        "From the request that creates a batch of three jobs beside all these to its "
        "condition Enqueued, as a client sees it that watches: median of 100",
    ),
    Figure("operator-enqueued-p95", "ms", "The same: 95th percentile"),
)

FIGURES = {figure.name: figure for figure in _ALL}
