"""The MySQL side of `JobQueue` and `Worker`: thin calls of the texts in sql/."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

import msgspec

from hammerwork.backends import listing, rows
from hammerwork.backends.mysql import exchange as exchanging
from hammerwork.backends.mysql import querying
from hammerwork.backends.mysql.chores import Chores
from hammerwork.backends.mysql.connection import Database
from hammerwork.backends.mysql.lifeline import MysqlLifeline
from hammerwork.backends.mysql.migrate import migrate
from hammerwork.backends.mysql.statements import statement
from hammerwork.backends.mysql.storing import MysqlTables
from hammerwork.backends.protocol import MAX_CLAIMS, Capabilities
from hammerwork.backends.slices import MAX_CHUNK_JOBS
from hammerwork.backends.storing import RETRY_JOBS, Store
from hammerwork.backends.upkeep import do_upkeep, forget_workers, reap
from hammerwork.batch import BatchState, JobStatus
from hammerwork.errors import BatchNotFoundError, DatabaseError
from hammerwork.reports import (
    BatchStatus,
    ErrorGroup,
    JobRecord,
    QueueActivity,
    QueueDepth,
    QueueStatistics,
    WorkerInfo,
)
from hammerwork.timing import EXCHANGE_SECONDS, STATEMENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Claim, Exchange, QueryRows, Settlement, Span, Upkeep
    from hammerwork.selection import Selection

logger = logging.getLogger("hammerwork.worker")

_SPANS_PER_QUERY = 100
"""Jobs scattered over a batch are read a few pages at a time: a page may have 128 KiB, or one long payload."""
_END_OF_TIME = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0))


class MysqlBackend:
    """A queue in a MySQL or MariaDB database; see `hammerwork.backends.protocol.Backend`."""

    capabilities: ClassVar[Capabilities] = Capabilities(notifies=False, functions=False)

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chores = Chores(database.run)
        # What workers wait for: they must find out well within a lease that a connection is dead.
        self._worker_chores = Chores(partial(database.run, within=EXCHANGE_SECONDS))
        self._rows = self._chores.rows
        self.tables = MysqlTables(database, self._chores)
        self._store = Store(self.tables)
        self.enqueue = self._store.enqueue
        self.enqueue_stream = self._store.enqueue_stream
        self.delete_batch = self._store.delete
        self._guesses: dict[str, exchanging.Guess] = {}

    @classmethod
    async def connect(cls, url: str, *, max_connections: int, connect_timeout: float) -> Self:
        """Open the database at `url`."""
        return cls(await Database.connect(url, max_connections=max_connections, connect_timeout=connect_timeout))

    async def close(self) -> None:
        await self._database.close()

    async def ping(self) -> None:
        await self._database.run(b"SELECT 1")

    async def migrate(self) -> None:
        await migrate(self._database)

    async def check_version(self) -> None:
        await self._database.check_version()

    async def batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]:
        found = await self._rows("batch_statuses", batches=list(batch_ids))
        statuses = [rows.batch_status(_batch_row(row)) for row in found]
        return {status.batch_id: status for status in statuses}

    async def batch_jobs(self, batch_id: UUID, *, status: JobStatus | None, after: int, limit: int) -> list[JobRecord]:
        listing.check_limit(f"batch {batch_id}", limit, listing.MAX_PAGE, "jobs")
        batch = (await self.batch_statuses([batch_id])).get(batch_id)
        if batch is None:
            raise BatchNotFoundError(batch_id)
        found: list[listing.Standing] = []
        size = limit if status is None else listing.WINDOW_JOBS
        for window in listing.windows(await self._spans(batch, status, after=after, limit=limit), after + 1, size):
            there = listing.standings(await self._window(batch_id, window), window)
            found += [standing for standing in there if status is None or standing.status is status]
            if len(found) >= limit:
                break
        return await self._records(batch, found[:limit])

    async def _window(self, batch_id: UUID, window: range) -> listing.Window:
        values = {"batch": batch_id, "first": window.start, "last": window.stop - 1, "longest": MAX_CHUNK_JOBS}
        batch, chunks, claims, failures = await self._database.run(statement("job_window", **values), block=True)
        if not batch:
            raise BatchNotFoundError(batch_id)
        return listing.Window(
            state=batch[0]["state"],
            total=batch[0]["total"],
            priorities=msgspec.json.decode(batch[0]["priorities"]),
            chunks=[_decoded(row, "spans") for row in chunks],
            claims=[_decoded(row, "remaining") for row in claims],
            failures=failures,
        )

    async def _spans(self, batch: BatchStatus, status: JobStatus | None, *, after: int, limit: int) -> list[Span]:
        """Return where jobs of this status can be, in order; enough for a page of `limit` jobs."""
        values: dict[str, Any] = {"batch": batch.batch_id, "after": after}
        if status is None:
            return [(after + 1, min(after + limit, batch.total_jobs - 1))]
        if status is JobStatus.RUNNING:
            claims = await self._rows("running_spans", **values)
            return listing.disjoint([span for row in claims for span in listing.held_spans(_decoded(row, "remaining"))])
        if status is JobStatus.FAILED:
            return [(row["lo"], row["hi"]) for row in await self._rows("failed_spans", **values, limit=limit)]
        waiting = [_decoded(row, "spans") for row in await self._rows("waiting_spans", **values)]
        stopped = batch.state in listing.STOPPED
        return listing.waiting_spans(status, waiting, after + 1, total=batch.total_jobs, stopped=stopped)

    async def _records(self, batch: BatchStatus, found: list[listing.Standing]) -> list[JobRecord]:
        indexes = [standing.index for standing in found]
        payloads = await self._payloads(batch.batch_id, listing.merged(indexes))
        if len(payloads) < len(found) and not await self.batch_statuses([batch.batch_id]):
            raise BatchNotFoundError(batch.batch_id)  # it has been deleted meanwhile
        errors = {
            row["idx"]: rows.job_error({**row, "failed_at": _utc(row["failed_at"])}, attempt=row["attempt"])
            for row in await self._rows("job_errors", batch=batch.batch_id, indexes=indexes)
        }
        return [
            JobRecord(
                batch_id=batch.batch_id,
                index=standing.index,
                queue=batch.queue,
                payload=payloads.get(standing.index),
                priority=standing.priority,
                status=standing.status,
                attempts=standing.attempts,
                error=errors.get(standing.index),
            )
            for standing in found
        ]

    async def _payloads(
        self, batch_id: UUID, spans: Sequence[Span], *, within: float = STATEMENT_SECONDS
    ) -> dict[int, Any]:
        """Return the payloads of the jobs in `spans`, as far as they are there, by index."""
        found: dict[int, Any] = {}
        for start in range(0, len(spans), _SPANS_PER_QUERY):
            some = spans[start : start + _SPANS_PER_QUERY]
            (numbers,) = await self._database.run(exchanging.page_numbers_text(batch_id, some), within=within)
            pages = exchanging.Pages()
            if numbers:
                text = statement("pages", batch=batch_id, pages={row["lo"] for row in numbers})
                for page in (await self._database.run(text, within=within))[0]:
                    pages.add(batch_id.bytes, page)
            found |= pages.by_index(batch_id.bytes, some)
        return found

    async def batch_errors(self, batch_id: UUID, *, limit: int) -> list[ErrorGroup]:
        groups: dict[str, ErrorGroup] = {}
        for row in await self._rows("batch_errors", batch=batch_id, limit=limit):
            group = ErrorGroup(type=row["error_type"], count=row["count"], index=row["idx"], message=row["message"])
            groups.setdefault(group.type, group)
        return list(groups.values())

    async def cancel_batch(self, batch_id: UUID) -> None:
        await self._rows("cancel", batch=batch_id)

    async def set_suspended(self, batch_id: UUID, *, suspended: bool) -> None:
        (row,) = await self._rows("suspend", batch=batch_id, suspended=suspended)
        if row["queue"] is None:
            raise BatchNotFoundError(batch_id)

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
        wanted = msgspec.json.encode(metadata).decode()
        states, begun = rows.stored_states(state)
        found = await self._rows(
            "list_batches",
            metadata=wanted,
            queue=queue,
            any_state=states is None,
            states=states or [],
            begun=begun,
            created_at=created_at,
            batch=batch_id,
            limit=limit,
        )
        return [UUID(bytes=row["id"]) for row in found]

    async def retry_failed(self, batch_id: UUID, chosen: Selection | None, attempt: int | None) -> int:
        jobs = await self.begin_retry(batch_id, chosen, attempt)
        while await self._chores.retry_slice(batch_id, RETRY_JOBS):
            pass
        return jobs

    async def begin_retry(self, batch_id: UUID, chosen: Selection | None = None, attempt: int | None = None) -> int:
        """Put a batch into the state Retrying; return how many of its jobs will run."""
        types, spans = (chosen.types, chosen.spans) if chosen is not None else (None, None)
        (row,) = await self._rows(
            "retry",
            batch=batch_id,
            chosen=chosen.text if chosen is not None else None,
            any_type=types is None,
            types=types or [],
            any_index=spans is None,
            spans=msgspec.json.encode(spans or []).decode(),
            attempt=attempt,
        )
        jobs = row["jobs"]
        if jobs is None:
            raise BatchNotFoundError(batch_id)
        if jobs < 0:
            raise rows.not_retryable(batch_id, (await self.batch_statuses([batch_id])).get(batch_id))
        return int(jobs)

    async def pause_queue(self, queue: str, *, paused: bool) -> None:
        await self._rows("pause", queue=queue, paused=paused)

    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics:
        (row,) = await self._rows("queue_statistics", queue=queue, window_us=round(window_seconds * 1_000_000))
        depth = (await self.queue_depths()).get(queue)
        return rows.queue_statistics(queue, window_seconds, row, depth)

    async def workers(self, queue: str | None) -> list[WorkerInfo]:
        return [
            rows.worker_info(
                {
                    **row,
                    "id": UUID(bytes=row["id"]),
                    "started_at": _utc(row["started_at"]),
                    "heartbeat_at": _utc(row["heartbeat_at"]),
                }
            )
            for row in await self._rows("list_workers", queue=queue)
        ]

    async def queue_depths(self) -> dict[str, QueueDepth]:
        return {row["queue"]: rows.queue_depth(row) for row in await self._rows("queue_depths")}

    async def queue_activities(self, queues: Collection[str], window_seconds: float) -> dict[str, QueueActivity]:
        window_us = round(window_seconds * 1_000_000)
        found = await self._rows("queue_activities", queues=list(queues), window_us=window_us) if queues else ()
        return {row["queue"]: rows.queue_activity(row) for row in found}

    async def exchange(
        self, worker_id: UUID, queue: str, settlements: Sequence[Settlement], limit: int, *, claims: int = MAX_CLAIMS
    ) -> Exchange:
        for settlement in settlements:
            exchanging.check(settlement)
        guess = self._guesses.setdefault(queue, exchanging.Guess())
        request = exchanging.Request(worker_id, queue, settlements, limit=limit, claims=claims, guess=guess)
        answer = await self._database.run(request.text, block=True, within=EXCHANGE_SECONDS)
        settled, stopped = request.settled(answer)
        exchange, taken, pages = request.exchange(answer, settled)
        exchange.claims = [await self._claim(row, pages) for row in taken]
        for batch_id in stopped:
            await self._finish_stopped(batch_id)
        return exchange

    async def _finish_stopped(self, batch_id: UUID) -> None:
        try:
            await self._worker_chores.finish_stopped(batch_id)
        except DatabaseError as error:  # the claims that came with the same answer must not be lost by that
            logger.warning("batch %s could not be ended, the upkeep will do so: %s", batch_id, error)

    async def _claim(self, row: Row, pages: exchanging.Pages) -> Claim:
        claim = exchanging.claim(row, pages)
        if len(claim.payloads) != len(claim.indexes):
            spans = exchanging.spans_of(row)
            payloads = await self._payloads(claim.batch_id, spans, within=EXCHANGE_SECONDS)
            claim.payloads = [payloads[index] for index in claim.indexes if index in payloads]
        return claim

    async def begin(self, worker_id: UUID, claim_id: int) -> bool:
        return bool(await self._worker_chores.rows("begin_claim", worker=worker_id, claim=claim_id))

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        found = await self._worker_chores.rows("workable_batches", batches=list(batch_ids))
        return set(batch_ids) - {UUID(bytes=row["id"]) for row in found}

    async def upkeep(self, seconds: float) -> Upkeep:
        return await do_upkeep(self._chores, seconds)

    async def reap(self) -> int:
        return await reap(self._chores)

    async def forget_workers(self, instances: Collection[str], share: float) -> set[str]:
        return await forget_workers(self._chores, list(instances), share)

    def query(self, sql: str, *, timeout: float, alone: UUID) -> AbstractAsyncContextManager[QueryRows]:
        return querying.query(self._database, sql, timeout=timeout, alone=alone)

    async def lifeline(self, queue: str, wake: Callable[[], None]) -> MysqlLifeline:
        del queue, wake  # the server has no notifications
        return MysqlLifeline(await self._database.line())


def _decoded(row: Row, column: str) -> Row:
    return {**row, column: msgspec.json.decode(row[column]) if row[column] is not None else None}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _maybe_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else _utc(moment)


def _batch_row(row: Row) -> Row:
    times = {name: _maybe_utc(row[name]) for name in ("created_at", "started_at", "finished_at", "retried_at")}
    return {**row, **times, "id": UUID(bytes=row["id"])}
