"""What a queue costs beside finished, suspended and thousands of other batches, and idle workers (PostgreSQL).

`python -m benchmarks.neighbours [NAME …]` prints a line for each figure; the names are those of the functions below.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import uvloop

from hammerwork import Job, JobBatch, JobQueue, PartialFailureMode, RetryPolicy, RetryStrategy, Worker
from hammerwork.backends.protocol import Settlement, WorkerRecord
from hammerwork.working.claims import HeldClaim
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork.backends.protocol import Claim

DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "8GB"}
BATCHES = """
INSERT INTO hammerwork_batches (id, name, queue, failure_mode, state, suspended, total, completed, batch_size,
                                max_attempts, retry_policy, priorities, rank, sealed_at, finished_at)
    SELECT gen_random_uuid(), '{name}', 'q', 'ContinueOnError', '{state}', {suspended}, {jobs}, {completed}, 1000, 4,
           '{{}}', '[[0, 2]]', 0, now(), {finished}
    FROM generate_series(1, {count})
"""
CHUNKS = """
INSERT INTO hammerwork_chunks (batch_id, priority, state, lo, hi, size)
    SELECT b.id, 2, 'ready', n, n, 1 FROM hammerwork_batches b, generate_series(0, {count} - 1) AS n
    WHERE b.name = '{name}'
"""
READY = """
INSERT INTO hammerwork_ready (batch_id, priority, queue, rank)
    SELECT id, 2, queue, rank FROM hammerwork_batches WHERE name = '{name}'
"""


class Place:
    """A queue in a fresh database, and a connection beside it."""

    def __init__(self, queue: JobQueue, sql: asyncpg.Connection[Any], url: str) -> None:
        self.queue = queue
        self.sql = sql
        self.url = url

    async def batches(
        self, name: str, count: int, *, state: str = "Pending", suspended: bool = False, jobs: int
    ) -> None:
        """Insert batches as they are after a long life."""
        ended = state == "Completed"
        await self.sql.execute(
            BATCHES.format(
                name=name,
                count=count,
                state=state,
                suspended=suspended,
                jobs=jobs,
                completed=jobs if ended else 0,
                finished="now()" if ended else "NULL",
            )
        )

    async def claims(self, count: int) -> list[float]:
        """Take and complete single jobs; return the milliseconds of each exchange."""
        worker, seconds = uuid.uuid4(), []
        held: Claim | None = None
        for _ in range(count):
            reports = [] if held is None else [Settlement(claim=held.id, open=1, completed=1)]
            started = time.perf_counter()
            answer = await self.queue.backend.exchange(worker, "q", reports, 1)
            seconds.append((time.perf_counter() - started) * 1_000)
            held = answer.claims[0] if answer.claims else None
        return seconds


async def took(call: Awaitable[object]) -> float:
    """Return the milliseconds that a call takes."""
    started = time.perf_counter()
    await call
    return (time.perf_counter() - started) * 1_000


def show(what: str, value: str) -> None:
    """Print a figure."""
    print(f"{what:70} {value}", flush=True)


def spread(values: list[float]) -> str:
    """Return median and most of some milliseconds."""
    return f"median {statistics.median(values):.2f} ms, most {max(values):.1f} ms"


async def finished_batches(place: Place) -> None:
    """Claims beside 100,000 finished batches, and behind a suspended one with 100,000 due retries."""
    await place.queue.enqueue_stream(JobBatch("b", queue="q"), (Job("q", n) for n in range(100_000)))
    show("exchange of one job, nothing else there", spread(await place.claims(300)))
    await place.batches("finished", 100_000, state="Completed", jobs=1)
    await place.sql.execute("ANALYZE")
    show("the same beside 100,000 finished batches, analyzed", spread(await place.claims(300)))
    await place.batches("suspended", 1, suspended=True, jobs=100_000)
    await place.sql.execute(CHUNKS.format(count=100_000, name="suspended"))
    await place.sql.execute("ANALYZE")
    show("the same behind a suspended batch with 100,000 due retries", spread(await place.claims(300)))
    async with place.sql.transaction():
        started = time.perf_counter()
        for _ in range(100):
            await place.sql.fetch("SELECT * FROM hammerwork_claim(gen_random_uuid(), 'other', 1, 1)")
        show("a claim that finds nothing, same states", f"{(time.perf_counter() - started) * 10:.2f} ms")


async def states(place: Place) -> None:
    """Changes of state with 500,000 chunks."""
    for name in ("suspend", "resume", "cancel", "FailFast"):
        await place.batches(name, 1, jobs=500_000)
        await place.sql.execute(CHUNKS.format(count=500_000, name=name) + ";" + READY.format(name=name))
    await place.sql.execute("ANALYZE")
    ids = {row["name"]: row["id"] for row in await place.sql.fetch("SELECT id, name FROM hammerwork_batches")}
    show("suspend a batch with 500,000 chunks", f"{await took(place.queue.suspend_batch(ids['suspend'])):.1f} ms")
    await place.queue.suspend_batch(ids["resume"])
    show("resume", f"{await took(place.queue.resume_batch(ids['resume'])):.1f} ms")
    show("cancel", f"{await took(place.queue.cancel_batch(ids['cancel'])):.1f} ms")
    await place.sql.execute(
        "UPDATE hammerwork_batches SET failure_mode = $2 WHERE id = $1",
        ids["FailFast"],
        PartialFailureMode.FAIL_FAST.value,
    )
    await place.sql.execute("DELETE FROM hammerwork_ready WHERE batch_id <> $1", ids["FailFast"])
    answer = await place.queue.backend.exchange(worker := uuid.uuid4(), "q", [], 1)
    report = Settlement(claim=answer.claims[0].id, open=1, failed=1)
    show(
        "settle the failure of a FailFast job",
        f"{await took(place.queue.backend.exchange(worker, 'q', [report], 0)):.1f} ms",
    )


async def progress(place: Place) -> None:
    """Progress of 1,000 batches, depth with 100,000."""
    await place.batches("live", 1_000, jobs=100)
    await place.sql.execute(CHUNKS.format(count=100, name="live"))
    await place.sql.execute("ANALYZE")
    ids = [row["id"] for row in await place.sql.fetch("SELECT id FROM hammerwork_batches")]
    values = [await took(place.queue.get_batch_statuses(ids)) for _ in range(10)]
    show("progress of 1,000 live batches of 100 chunks", spread(values))
    await place.batches("many", 100_000, jobs=10)
    await place.sql.execute("VACUUM ANALYZE")
    show("depth with 100,000 live batches", spread([await took(place.queue.get_queue_depths()) for _ in range(10)]))


async def small_batches(place: Place) -> None:
    """10,000 batches of ten jobs, 8 enqueuers, 2 workers in one process."""
    count = 10_000
    numbers = iter(range(count))

    async def enqueue() -> None:
        for number in numbers:
            await place.queue.enqueue_batch(JobBatch(f"b{number}").with_jobs(Job("q", n) for n in range(10)))

    started = time.perf_counter()
    await asyncio.gather(*(enqueue() for _ in range(8)))
    show("10,000 batches of ten jobs, 8 enqueuers", f"{count / (time.perf_counter() - started):,.0f} batches/s")
    ran = 0

    async def handler(_job: Job) -> None:
        nonlocal ran
        ran += 1

    workers = [Worker(place.queue, "q", handler) for _ in range(2)]
    started = time.perf_counter()
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    while ran < 10 * count:
        await asyncio.sleep(0.01)
    show("drained by 2 workers", f"{count / (time.perf_counter() - started):,.0f} batches/s")
    for worker in workers:
        worker.stop()
    await asyncio.gather(*tasks)


async def scattered_retries(place: Place) -> None:
    """Every other job of a million fails once; the retries by one worker of no-op jobs."""
    jobs = 1_000_000
    policy = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0, max_seconds=0)
    batch = JobBatch("b", queue="q").with_batch_size(1_000).with_retry_policy(policy)
    await place.queue.enqueue_stream(batch, (Job("q", n) for n in range(jobs)))
    worker, ran = uuid.uuid4(), 0
    reports: list[HeldClaim] = []
    retries: float | None = None
    while True:
        answer = await place.queue.backend.exchange(worker, "q", [held.report() for held in reports], 4_000)
        if not answer.claims:
            break
        reports = [HeldClaim(claim) for claim in answer.claims]
        if retries is None and answer.claims[0].attempt == 2:
            retries, ran = time.perf_counter(), 0
        for held in reports:
            while held.waiting:
                offset = held.start()
                if held.claim.attempt == 1 and offset % 2:
                    held.fail(offset, ValueError("once"))
                else:
                    held.complete(offset)
                ran += 1
    assert retries is not None
    show("500,000 scattered retries", f"{ran / (time.perf_counter() - retries):,.0f} jobs/s")


async def heartbeats(place: Place) -> None:
    """Heartbeats of one queue with commits of 8 ms."""
    await place.sql.execute("ALTER SYSTEM SET commit_delay = 8000")
    await place.sql.execute("ALTER SYSTEM SET commit_siblings = 0")
    await place.sql.execute("SELECT pg_reload_conf()")
    lines = [await place.queue.backend.lifeline("q", lambda: None) for _ in range(40)]
    sent = 0
    end = time.perf_counter() + 5

    async def beat(number: int) -> None:
        nonlocal sent
        worker = uuid.uuid4()
        known = None
        while time.perf_counter() < end:
            record = WorkerRecord(
                id=worker, queue="q", pool="", instance="", lanes=1, lease_seconds=30, processed=sent + number
            )
            await lines[number].heartbeat(record, known, [])
            known = record
            sent += 1

    await asyncio.gather(*(beat(number) for number in range(len(lines))))
    show("heartbeats of one queue, commits of 8 ms, 40 sessions", f"{sent / 5:,.0f}/s")
    for line in lines:
        await line.close()


async def idle_workers(place: Place) -> None:
    """Statements and sessions of idle workers."""
    workers = [Worker(place.queue, "q", _nothing) for _ in range(100)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    await asyncio.sleep(12)
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    before = await place.sql.fetchval(query)
    await asyncio.sleep(10)
    per_second = (await place.sql.fetchval(query) - before) / 10
    show("transactions of 100 idle workers", f"{per_second:.0f}/s, so {per_second * 10:.0f}/s of 1,000")
    for worker in workers:
        worker.stop()
    await asyncio.gather(*tasks)


async def _nothing(_job: Job) -> None:
    pass


FIGURES: list[Callable[[Place], Awaitable[None]]] = [
    finished_batches,
    states,
    progress,
    small_batches,
    scattered_retries,
    heartbeats,
    idle_workers,
]


async def main(names: list[str]) -> None:
    """Measure each figure on a server of its own."""
    for figure in FIGURES:
        if names and figure.__name__ not in names:
            continue
        with postgres_server(DURABLE) as server:
            url = server.url()
            async with await JobQueue.connect(url) as queue:
                await queue.create_tables()
                sql = await asyncpg.connect(url)
                await figure(Place(queue, sql, url))
                await sql.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers end with this process
    uvloop.run(main(sys.argv[1:]))
