"""The PostgreSQL side of `JobQueue` and `Worker`: thin calls of the statements in sql/."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

import msgspec

from hammerwork.backends import listing, rows
from hammerwork.backends.postgres import querying
from hammerwork.backends.postgres.connection import Database
from hammerwork.backends.postgres.lifeline import PostgresLifeline
from hammerwork.backends.postgres.migrate import migrate
from hammerwork.backends.postgres.statements import statements
from hammerwork.backends.postgres.storing import PostgresTables
from hammerwork.backends.postgres.waking import Waker
from hammerwork.backends.protocol import MAX_CLAIMS, Capabilities, Claim, Exchange, Settled
from hammerwork.backends.slices import MAX_CHUNK_JOBS
from hammerwork.backends.storing import RETRY_JOBS, Store
from hammerwork.backends.upkeep import do_upkeep, forget_workers, reap
from hammerwork.batch import BatchState, JobStatus
from hammerwork.errors import BatchNotFoundError
from hammerwork.reports import (
    BatchStatus,
    ErrorGroup,
    JobRecord,
    QueueActivity,
    QueueDepth,
    QueueStatistics,
    WorkerInfo,
)
from hammerwork.timing import EXCHANGE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from hammerwork.backends.protocol import QueryRows, Settlement, Span, Upkeep
    from hammerwork.selection import Selection

_END_OF_TIME = (datetime.max.replace(tzinfo=UTC), UUID(int=0))


class PostgresBackend:
    """A queue in a PostgreSQL database; see `hammerwork.backends.protocol.Backend`."""

    capabilities: ClassVar[Capabilities] = Capabilities(notifies=True, functions=True)

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = statements()
        self._waker = Waker(database)
        self.tables = PostgresTables(database, self._waker)
        self._store = Store(self.tables)
        self.enqueue = self._store.enqueue
        self.enqueue_stream = self._store.enqueue_stream
        self.delete_batch = self._store.delete

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open the database at `url`."""
        return cls(await Database.connect(url, max_connections=max_connections, connect_timeout=connect_timeout))

    async def close(self) -> None:
        try:
            await self._waker.close()
        finally:
            await self._database.close()

    async def ping(self) -> None:
        async with self._database.connection() as connection:
            await connection.fetchval("SELECT 1")

    async def migrate(self) -> None:
        await migrate(self._database)

    async def check_version(self) -> None:
        await self._database.check_version()

    async def fetch(self, query: str, *, timeout: float | None = None, **values: Any) -> list[Any]:
        """Run a statement of sql/."""
        statement = self._statements[query]
        async with self._database.connection() as connection:
            return await connection.fetch(  # type: ignore[no-any-return]
                statement.text, *statement.arguments(values), timeout=timeout
            )

    async def _fetchval(self, query: str, *, timeout: float | None = None, **values: Any) -> Any:
        (row,) = await self.fetch(query, timeout=timeout, **values)
        return row[0]

    async def wake(self, queue: str | None) -> None:
        """Notify the workers of a queue."""
        if queue is not None:
            self._waker.wake(queue)

    async def batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]:
        found = await self.fetch("batch_statuses", batches=list(batch_ids))
        return {row["id"]: rows.batch_status(row) for row in found}

    async def batch_jobs(self, batch_id: UUID, *, status: JobStatus | None, after: int, limit: int) -> list[JobRecord]:
        listing.check_limit(f"batch {batch_id}", limit, listing.MAX_PAGE, "jobs")
        batch = (await self.batch_statuses([batch_id])).get(batch_id)
        if batch is None:
            raise BatchNotFoundError(batch_id)
        found: list[listing.Standing] = []
        size = limit if status is None else listing.WINDOW_JOBS
        for window in listing.windows(await self._spans(batch, status, after=after, limit=limit), after + 1, size):
            known = await self.fetch(
                "job_window", batch=batch_id, first=window.start, last=window.stop - 1, longest=MAX_CHUNK_JOBS
            )
            if not known:
                raise BatchNotFoundError(batch_id)
            there = listing.standings(_window(known[0]), window)
            found += [standing for standing in there if status is None or standing.status is status]
            if len(found) >= limit:
                break
        return await self._records(batch, found[:limit])

    async def _spans(self, batch: BatchStatus, status: JobStatus | None, *, after: int, limit: int) -> list[Span]:
        """Return where jobs of this status can be, in order; enough for a page of `limit` jobs."""
        if status is None:
            return [(after + 1, min(after + limit, batch.total_jobs - 1))]
        if status is JobStatus.RUNNING:
            claims = await self.fetch("running_spans", batch=batch.batch_id, after=after)
            return listing.disjoint([span for row in claims for span in listing.held_spans(_decoded(row, "remaining"))])
        if status is JobStatus.FAILED:
            return [
                (row["lo"], row["hi"])
                for row in await self.fetch("failed_spans", batch=batch.batch_id, after=after, limit=limit)
            ]
        waiting = [
            _decoded(row, "spans") for row in await self.fetch("waiting_spans", batch=batch.batch_id, after=after)
        ]
        stopped = batch.state in listing.STOPPED
        return listing.waiting_spans(status, waiting, after + 1, total=batch.total_jobs, stopped=stopped)

    async def _records(self, batch: BatchStatus, found: list[listing.Standing]) -> list[JobRecord]:
        if not found:
            return []
        indexes = [standing.index for standing in found]
        payloads = {
            row["idx"]: row["payload"]
            for row in await self.fetch("job_payloads", batch=batch.batch_id, indexes=indexes)
        }
        if len(payloads) < len(found) and not await self.batch_statuses([batch.batch_id]):
            raise BatchNotFoundError(batch.batch_id)  # it has been deleted meanwhile
        errors = {
            row["idx"]: rows.job_error(row, attempt=row["attempt"])
            for row in await self.fetch("job_errors", batch=batch.batch_id, indexes=indexes)
        }
        return [
            JobRecord(
                batch_id=batch.batch_id,
                index=standing.index,
                queue=batch.queue,
                payload=msgspec.json.decode(payloads[standing.index]) if standing.index in payloads else None,
                priority=standing.priority,
                status=standing.status,
                attempts=standing.attempts,
                error=errors.get(standing.index),
            )
            for standing in found
        ]

    async def batch_errors(self, batch_id: UUID, *, limit: int) -> list[ErrorGroup]:
        return [
            ErrorGroup(type=row["error_type"], count=row["count"], index=row["idx"], message=row["message"])
            for row in await self.fetch("batch_errors", batch=batch_id, limit=limit)
        ]

    async def cancel_batch(self, batch_id: UUID) -> None:
        await self.fetch("cancel", batch=batch_id)

    async def set_suspended(self, batch_id: UUID, *, suspended: bool) -> None:
        queue = await self._fetchval("suspend", batch=batch_id, suspended=suspended)
        if queue is None:
            raise BatchNotFoundError(batch_id)
        if not suspended:
            await self.wake(queue)

    async def list_batches(
        self,
        *,
        queue: str | None,
        metadata: dict[str, str],
        state: BatchState | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[UUID]:
        listing.check_limit("list of batches", limit, listing.MAX_BATCHES, "batches")
        created_at, batch_id = before or _END_OF_TIME
        states, begun = rows.stored_states(state)
        found = await self.fetch(
            "list_batches",
            metadata=msgspec.json.encode(metadata).decode(),
            queue=queue,
            created_at=created_at,
            id=batch_id,
            limit=limit,
            states=states,
            begun=begun,
        )
        return [row["id"] for row in found]

    async def retry_failed(self, batch_id: UUID, chosen: Selection | None, attempt: int | None) -> int:
        jobs = await self.begin_retry(batch_id, chosen, attempt)
        while await self._fetchval("retry_slice", batch=batch_id, limit=RETRY_JOBS):
            pass
        if jobs:
            for status in (await self.batch_statuses([batch_id])).values():  # none if it has been deleted meanwhile
                await self.wake(status.queue)
        return jobs

    async def begin_retry(self, batch_id: UUID, chosen: Selection | None = None, attempt: int | None = None) -> int:
        """Put a batch into the state Retrying; return how many of its jobs will run."""
        text = chosen.text if chosen is not None else None
        jobs = await self._fetchval("retry", batch=batch_id, chosen=text, attempt=attempt)
        if jobs is None:
            raise BatchNotFoundError(batch_id)
        if jobs < 0:
            raise rows.not_retryable(batch_id, (await self.batch_statuses([batch_id])).get(batch_id))
        return int(jobs)

    async def pause_queue(self, queue: str, *, paused: bool) -> None:
        await self.fetch("pause", queue=queue, paused=paused)
        if not paused:
            await self.wake(queue)

    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics:
        (row,) = await self.fetch("queue_statistics", queue=queue, seconds=window_seconds)
        depth = (await self.queue_depths()).get(queue)
        return rows.queue_statistics(queue, window_seconds, row, depth)

    async def workers(self, queue: str | None) -> list[WorkerInfo]:
        return [rows.worker_info(row) for row in await self.fetch("list_workers", queue=queue)]

    async def queue_depths(self) -> dict[str, QueueDepth]:
        return {row["queue"]: rows.queue_depth(row) for row in await self.fetch("queue_depths")}

    async def queue_activities(self, queues: Collection[str], window_seconds: float) -> dict[str, QueueActivity]:
        found = await self.fetch("queue_activities", queues=list(queues), seconds=window_seconds)
        return {row["queue"]: rows.queue_activity(row) for row in found}

    async def exchange(
        self, worker_id: UUID, queue: str, settlements: Sequence[Settlement], limit: int, *, claims: int = MAX_CLAIMS
    ) -> Exchange:
        reports = msgspec.json.encode(settlements).decode() if settlements else None
        found = await self.fetch(
            "exchange",
            worker=worker_id,
            queue=queue,
            limit=limit,
            claims=claims,
            reports=reports,
            timeout=EXCHANGE_SECONDS,
        )
        first = found[0]
        exchange = Exchange(busy=first["busy"])
        if first["settled"] is not None:
            exchange.settled = {
                claim: Settled(answer)
                for claim, answer in msgspec.json.decode(first["settled"], type=list[tuple[int, str]])
            }
        if first["claim_id"] is not None:
            exchange.claims = [_claim(row) for row in found]
        if any(settlement.makes_ready for settlement in settlements):
            await self.wake(queue)
        return exchange

    async def begin(self, worker_id: UUID, claim_id: int) -> bool:
        return bool(await self._fetchval("begin", worker=worker_id, claim=claim_id, timeout=EXCHANGE_SECONDS))

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        found = await self.fetch("stopped_batches", batches=list(batch_ids), timeout=EXCHANGE_SECONDS)
        return {row["id"] for row in found}

    async def upkeep(self, seconds: float) -> Upkeep:
        return await do_upkeep(self, seconds)

    async def reap(self) -> int:
        return await reap(self)

    async def forget_workers(self, instances: Collection[str], share: float) -> set[str]:
        return await forget_workers(self, list(instances), share)

    def query(self, sql: str, *, timeout: float, alone: UUID) -> AbstractAsyncContextManager[QueryRows]:
        return querying.query(self._database, sql, timeout=timeout, alone=alone)

    async def lifeline(self, queue: str, wake: Callable[[], None]) -> PostgresLifeline:
        lifeline = PostgresLifeline(self._database, await self._database.dedicated_connection())
        try:
            await lifeline.listen(queue, wake)
        except BaseException:
            await lifeline.close()
            raise
        return lifeline


def _claim(row: Any) -> Claim:
    return rows.claim(row, rows.payloads(row["payloads"]) if row["payloads"] is not None else [])


def _decoded(row: Any, column: str) -> dict[str, Any]:
    return {**row, column: msgspec.json.decode(row[column]) if row[column] is not None else None}


def _window(row: Any) -> listing.Window:
    return listing.Window(
        state=row["state"],
        total=row["total"],
        priorities=msgspec.json.decode(row["priorities"]),
        chunks=msgspec.json.decode(row["chunks"]),
        claims=msgspec.json.decode(row["claims"]),
        failures=msgspec.json.decode(row["failures"]),
    )
