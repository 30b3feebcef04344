"""The PostgreSQL side of `JobQueue` and `Worker`: thin calls of the statements in queries.sql and functions.sql."""

from __future__ import annotations

import asyncio
import bisect
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec

from hammerwork.backends import rows
from hammerwork.backends.postgres.connection import STATEMENT_TIMEOUT_SECONDS, WORKER_TIMEOUT_SECONDS, Database
from hammerwork.backends.postgres.loading import Loader
from hammerwork.backends.postgres.migrate import migrate
from hammerwork.backends.protocol import Exchange, Settled
from hammerwork.backends.sql import read_queries
from hammerwork.batch import BatchState, JobStatus, Priority
from hammerwork.errors import BatchNotFoundError, DatabaseUnavailableError
from hammerwork.reports import BatchStatus, ErrorGroup, JobRecord, QueueDepth, QueueStatistics, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from hammerwork.backends.protocol import Settlement, Span, WorkerRecord

_CHANNEL = "hammerwork_ready"
_BUSY_SECONDS = 0.01
_END_OF_TIME = (datetime.max.replace(tzinfo=UTC), UUID(int=0))


class PostgresBackend:
    """A queue in a PostgreSQL database; see `hammerwork.backends.protocol.Backend`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = read_queries("hammerwork.backends.postgres", "queries.sql")
        self._loader = Loader(database, self._queries)
        self.enqueue = self._loader.enqueue
        self.enqueue_stream = self._loader.enqueue_stream
        self.delete_batch = self._loader.delete
        self._last_claim: dict[UUID, int] = {}
        """The last claim that each worker has got."""
        self._doubt_until: dict[UUID, float] = {}
        """Workers that may have been given a claim which never arrived, and until when it may still be given."""

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open the database at `url`."""
        return cls(await Database.connect(url, max_connections=max_connections, connect_timeout=connect_timeout))

    async def close(self) -> None:
        await self._database.close()

    async def ping(self) -> None:
        async with self._database.connection() as connection:
            await connection.fetchval("SELECT 1")

    async def migrate(self) -> None:
        await migrate(self._database)

    async def _fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Any]:
        async with self._database.connection() as connection:
            return await connection.fetch(self._queries[query], *args, timeout=timeout)  # type: ignore[no-any-return]

    async def _fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any:
        async with self._database.connection() as connection:
            return await connection.fetchval(self._queries[query], *args, timeout=timeout)

    async def batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]:
        found = await self._fetch("batch_statuses", list(batch_ids))
        return {row["id"]: rows.batch_status(row) for row in found}

    async def batch_jobs(self, batch_id: UUID, *, status: JobStatus | None, after: int, limit: int) -> list[JobRecord]:
        rows.check_limit(f"batch {batch_id}", limit, rows.MAX_PAGE, "jobs")
        batch = (await self.batch_statuses([batch_id])).get(batch_id)
        if batch is None:
            raise BatchNotFoundError(batch_id)
        priorities = msgspec.json.decode(await self._fetchval("batch_priorities", batch_id))
        starts = [start for start, _ in priorities]
        spans = await self._spans(batch, status, after=after, limit=limit)
        found = await self._fetch(
            "batch_jobs",
            batch_id,
            after,
            limit,
            status.value if status is not None else None,
            [lo for lo, _ in spans],
            [hi for _, hi in spans],
        )
        return [
            _record(batch, row, Priority(priorities[bisect.bisect_right(starts, row["idx"]) - 1][1])) for row in found
        ]

    async def _spans(self, batch: BatchStatus, status: JobStatus | None, *, after: int, limit: int) -> list[Span]:
        """Return where jobs of this status can be, in order; enough for a page of `limit` jobs."""
        if status is JobStatus.RUNNING:
            claims = await self._fetch("running_spans", batch.batch_id, after)
            return _disjoint([(row["lo"], row["hi"]) for row in claims])
        if status is JobStatus.FAILED:
            return [(row["lo"], row["hi"]) for row in await self._fetch("failed_spans", batch.batch_id, after, limit)]
        if status is None:
            return [(after + 1, after + limit)]
        waiting = await self._fetch("waiting_spans", batch.batch_id, after)
        stopped = batch.state in rows.STOPPED
        spans = rows.waiting_spans(status, waiting, after + 1, total=batch.total_jobs, stopped=stopped)
        # All jobs of a span that waits have the status; in a gap between such spans, some may have failed or run.
        return spans if status is JobStatus.COMPLETED else spans[:limit]

    async def batch_errors(self, batch_id: UUID, *, limit: int) -> list[ErrorGroup]:
        return [
            ErrorGroup(type=row["error_type"], count=row["count"], index=row["idx"], message=row["message"])
            for row in await self._fetch("batch_errors", batch_id, limit)
        ]

    async def cancel_batch(self, batch_id: UUID) -> None:
        await self._fetchval("stop_batch", batch_id, BatchState.CANCELLED.value)
        await self._fetchval("finish_stopped", batch_id)

    async def set_suspended(self, batch_id: UUID, *, suspended: bool) -> None:
        while (there := await self._fetchval("set_suspended", batch_id, suspended)) is None:
            await asyncio.sleep(_BUSY_SECONDS)  # a worker was just reporting from a chunk that is to be released
        if not there:
            raise BatchNotFoundError(batch_id)

    async def list_batches(
        self, *, queue: str | None, metadata: dict[str, str], before: tuple[datetime, UUID] | None, limit: int
    ) -> list[UUID]:
        rows.check_limit("list of batches", limit, rows.MAX_BATCHES, "batches")
        created_at, batch_id = before or _END_OF_TIME
        wanted = msgspec.json.encode(metadata).decode()
        return [row["id"] for row in await self._fetch("list_batches", wanted, queue, created_at, batch_id, limit)]

    async def retry_failed(self, batch_id: UUID) -> int:
        jobs = await self._fetchval("retry_failed", batch_id)
        if jobs is None:
            raise BatchNotFoundError(batch_id)
        if jobs < 0:
            raise rows.not_retryable((await self.batch_statuses([batch_id]))[batch_id])
        return int(jobs)

    async def pause_queue(self, queue: str, *, paused: bool) -> None:
        await self._fetchval("pause_queue", queue, paused)

    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics:
        (row,) = await self._fetch("queue_statistics", queue, window_seconds)
        depth = (await self.queue_depths()).get(queue)
        return rows.queue_statistics(queue, window_seconds, row, depth)

    async def workers(self, queue: str | None) -> list[WorkerInfo]:
        return [rows.worker_info(row) for row in await self._fetch("list_workers", queue)]

    async def queue_depths(self) -> dict[str, QueueDepth]:
        return {row["queue"]: QueueDepth(**row) for row in await self._fetch("queue_depths")}

    async def exchange(self, worker_id: UUID, queue: str, settlement: Settlement | None, limit: int) -> Exchange:
        if worker_id in self._doubt_until:
            await self._free_undelivered(worker_id)
        try:
            exchange = await self._exchange(worker_id, queue, settlement, limit)
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._doubt_until[worker_id] = time.monotonic() + STATEMENT_TIMEOUT_SECONDS
            raise
        if exchange.claim is not None:
            self._last_claim[worker_id] = exchange.claim.id
        return exchange

    async def _free_undelivered(self, worker_id: UUID) -> None:
        """Free the claims that were given to a worker in an answer which it never got.

        The worker asks for one claim at a time, so all that are newer than the last one it got are such.
        """
        last = self._last_claim.get(worker_id, 0)
        while await self._fetchval("free_undelivered", worker_id, last, timeout=WORKER_TIMEOUT_SECONDS) is not None:
            pass
        if time.monotonic() > self._doubt_until[worker_id]:
            del self._doubt_until[worker_id]

    async def _exchange(self, worker_id: UUID, queue: str, settlement: Settlement | None, limit: int) -> Exchange:
        if settlement is None:
            found = await self._fetch("claim", worker_id, queue, limit, timeout=WORKER_TIMEOUT_SECONDS)
            return _exchange(found[0], None) if found else Exchange()
        outcomes = (
            worker_id,
            settlement.claim_id,
            settlement.open,
            settlement.completed,
            settlement.failed,
            _json_or_none(settlement.failures),
            _json_or_none(settlement.retries),
            _json_or_none(settlement.released),
            None if settlement.remaining is None else msgspec.json.encode(settlement.remaining).decode(),
        )
        if limit == 0:
            return Exchange(settled=Settled(await self._fetchval("settle", *outcomes, timeout=WORKER_TIMEOUT_SECONDS)))
        (row,) = await self._fetch("exchange", *outcomes, queue, limit, timeout=WORKER_TIMEOUT_SECONDS)
        return _exchange(row, Settled(row["settled"]))

    async def heartbeat(self, worker: WorkerRecord) -> None:
        await self._fetch("heartbeat", *msgspec.structs.astuple(worker), timeout=WORKER_TIMEOUT_SECONDS)

    async def retire(self, worker_id: UUID, *, instance: str = "") -> None:
        if instance:
            await self._fetch("retire_others", worker_id, instance, timeout=WORKER_TIMEOUT_SECONDS)
        else:
            await self._fetch("retire", worker_id, timeout=WORKER_TIMEOUT_SECONDS)
            self._last_claim.pop(worker_id, None)
            self._doubt_until.pop(worker_id, None)

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        found = await self._fetch("stopped_batches", list(batch_ids), timeout=WORKER_TIMEOUT_SECONDS)
        return {row["id"] for row in found}

    async def tick(self, queue: str) -> None:
        await self._fetchval("tick", queue, timeout=WORKER_TIMEOUT_SECONDS)

    async def reap(self, lease_seconds: float) -> int:
        released = 0
        # One transaction a claim: each locks the rows of one chunk and one batch only, see functions.sql.
        while (jobs := await self._fetchval("reap", lease_seconds, timeout=WORKER_TIMEOUT_SECONDS)) is not None:
            released += jobs
        return released

    async def listen(self, wake: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        connection = await self._database.dedicated_connection()
        try:
            await connection.add_listener(_CHANNEL, lambda _c, _pid, _channel, queue: wake(queue))
        except BaseException as error:
            connection.terminate()
            if not isinstance(error, Exception):
                raise
            raise DatabaseUnavailableError(f"database {self._database.address}: LISTEN: {error}") from error
        connection.add_termination_listener(lambda _c: wake(""))

        async def end() -> None:
            connection.terminate()

        return end


def _disjoint(spans: list[Span]) -> list[Span]:
    """Cut off what an earlier span covers: a job that was given back may be in the spans of two claims."""
    cut = []
    end = -1
    for lo, hi in spans:
        if hi > end:
            cut.append((max(lo, end + 1), hi))
            end = hi
    return cut


def _json_or_none(entries: Sequence[object]) -> str | None:
    return msgspec.json.encode(entries).decode() if entries else None


def _exchange(row: Any, settled: Settled | None) -> Exchange:
    if row["claim_id"] is None:
        return Exchange(settled=settled, busy=row["lo"] == 0)
    return Exchange(settled=settled, claim=rows.claim(row, msgspec.json.decode(row["payloads"])))


def _record(batch: BatchStatus, row: Any, priority: Priority) -> JobRecord:
    status = JobStatus(row["status"])
    return JobRecord(
        batch_id=batch.batch_id,
        index=row["idx"],
        queue=batch.queue,
        payload=msgspec.json.decode(row["payload"]),
        priority=priority,
        status=status,
        attempts=rows.attempts_begun(row["attempt"], status),
        error=rows.job_error(row, attempt=row["error_attempt"]) if row["error_type"] is not None else None,
    )
