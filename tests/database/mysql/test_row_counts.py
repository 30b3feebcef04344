"""How many rows the statements of the hot path read on MySQL and MariaDB, whatever else there is in the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import BatchState, Job, JobBatch, PartialFailureMode
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork import JobQueue
    from tests.harness.observing import Sql

pytestmark = [pytest.mark.only("mysql"), pytest.mark.every_server]

FINISHED = 3_000
DUE = 5_000
"""Chunks of a suspended batch, in front of all."""

_READS = "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%'"
_WRITES = "SHOW SESSION STATUS WHERE Variable_name IN ('Handler_update', 'Handler_delete')"


async def counted(queue: JobQueue, which: str, what: Callable[[], Awaitable[object]]) -> int:
    """Return how many rows the server has touched for this, on the one connection of the queue."""
    database: Any = queue.backend._database  # type: ignore[attr-defined]

    async def count() -> int:
        return sum(int(row["Value"]) for row in (await database.run(which.encode()))[0])

    sessions = database.sessions
    before = await count()
    own = await count() - before
    await what()
    after = await count()
    assert database.sessions == sessions, "all of it went over one connection"
    return after - before - 2 * own


async def neighbours(sql: Sql) -> None:
    """Store thousands of finished batches, and a suspended one with chunks that are ready."""
    numbers = (
        "WITH RECURSIVE d AS (SELECT 0 AS d UNION ALL SELECT d + 1 FROM d WHERE d < 99), "
        "n AS (SELECT x.d * 100 + y.d AS n FROM d x, d y) SELECT"
    )
    batch_id = "UNHEX(LEFT(SHA2(CONCAT('neighbour', {}), 256), 32))"
    columns = (
        "id, name, queue, failure_mode, state, suspended, total, completed, batch_size, max_attempts, retry_policy, "
        "priorities, `rank`, metadata, created_at, sealed_at, finished_at"
    )
    await sql.run(
        f"INSERT INTO hammerwork_batches ({columns}) {numbers} {batch_id.format('n')}, "
        "'neighbour', 'q', 'ContinueOnError', IF(n = 0, 'Pending', 'Completed'), n = 0, 5000, 5000, 100, 1, '{}', "
        "'[[0, 2]]', 0, '{}', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), IF(n = 0, NULL, UTC_TIMESTAMP(6)) "
        f"FROM n WHERE n <= {FINISHED}"
    )
    await sql.run(
        "INSERT INTO hammerwork_chunks (batch_id, precedence, state, attempt, lo, hi, size) "
        f"{numbers} {batch_id.format(0)}, 2, 'ready', 2, n, n, 1 FROM n WHERE n < {DUE}"
    )


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_claim_beside_finished_and_suspended_batches_reads_few_rows(
    queue: JobQueue, sql: Sql, analyzed: bool
) -> None:
    worker = SteeredWorker(queue)
    await worker.register()

    async def reads() -> dict[str, int]:
        queue.backend._guesses.clear()  # type: ignore[attr-defined]  # how many rows to lock: of the claims before
        await worker.claim()  # what is done once is done
        found = {"a claim that finds nothing": await counted(queue, _READS, worker.claim)}
        large = await queue.enqueue_stream(JobBatch("b", queue="q"), (Job("q", n) for n in range(20_000)))
        for _ in range(5):
            found["a claim of 100 jobs"] = await counted(queue, _READS, lambda: worker.take(100))
        held = await worker.take(100)
        found["a report"] = await counted(queue, _READS, lambda: worker.end(held, failing=[held.claim.indexes[0]]))
        await queue.cancel_batch(large)
        small = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(10)))
        found["a claim of the last jobs"] = await counted(queue, _READS, lambda: worker.take(100))
        await queue.cancel_batch(small)
        return found

    alone = await reads()
    await neighbours(sql)
    if analyzed:
        for table in ("batches", "chunks", "ready", "claims", "pages"):
            await sql.rows(f"ANALYZE TABLE hammerwork_{table}")
    beside = await reads()
    assert alone["a claim that finds nothing"] < 100
    # Most of the rows are of lists in the statement itself.
    more = {
        what: f"{rows} rows alone, {beside[what]} beside others"
        for what, rows in alone.items()
        if beside[what] > rows + 20
    }
    assert not more


async def test_the_end_of_a_batch_touches_few_rows_whatever_the_number_of_its_chunks(queue: JobQueue) -> None:
    """Suspend, resume, cancel, a failure that ends the batch, the first step of a deletion."""
    for chunks in (10, 900):
        mode = PartialFailureMode.FAIL_FAST
        given = [
            JobBatch("b")
            .with_batch_size(1)
            .with_partial_failure_handling(mode)
            .with_jobs(Job("q", n) for n in range(chunks))
            for _ in range(2)
        ]
        first, second = [await queue.enqueue_batch(batch) for batch in given]
        assert await counted(queue, _WRITES, lambda: queue.suspend_batch(first)) <= 5  # noqa: B023
        assert await counted(queue, _WRITES, lambda: queue.resume_batch(first)) <= 5  # noqa: B023
        assert await counted(queue, _WRITES, lambda: queue.cancel_batch(first)) <= 5  # noqa: B023
        worker = SteeredWorker(queue)
        held = await worker.take(1)
        assert held.claim.batch_id == second
        assert await counted(queue, _WRITES, lambda: worker.end(held, failing=[0])) <= 10  # noqa: B023
        assert (await queue.get_batch_status(second)).state is BatchState.FAILED
        tables: Any = queue.backend.tables  # type: ignore[attr-defined]
        assert await counted(queue, _WRITES, lambda: tables.begin_deletion(second, "Deleting")) <= 5  # noqa: B023
