"""The MySQL side of `JobQueue` and `Worker`: thin calls of the texts in queries.sql."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec

from hammerwork.backends import rows
from hammerwork.backends.mysql import settling
from hammerwork.backends.mysql.connection import (
    GROUP_BYTES,
    STATEMENT_TIMEOUT_SECONDS,
    WORKER_TIMEOUT_SECONDS,
    Database,
)
from hammerwork.backends.mysql.loading import Loader
from hammerwork.backends.mysql.migrate import migrate
from hammerwork.backends.mysql.standing import Standing, standings, windows
from hammerwork.backends.mysql.statements import statement
from hammerwork.backends.protocol import Exchange
from hammerwork.backends.slices import MAX_CHUNK_JOBS
from hammerwork.batch import BatchState, JobStatus
from hammerwork.errors import BatchNotFoundError, DatabaseUnavailableError
from hammerwork.reports import BatchStatus, ErrorGroup, JobRecord, QueueDepth, QueueStatistics, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Claim, Settlement, Span, WorkerRecord

_WINDOW_JOBS = 10_000
_BUSY_SECONDS = 0.01
_BLOCKS = {"finish_stopped", "heartbeat", "make_due_ready", "retire", "retry_failed", "set_suspended"}
"""Texts of several statements."""
_END_OF_TIME = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0))


class MysqlBackend:
    """A queue in a MySQL or MariaDB database; see `hammerwork.backends.protocol.Backend`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loader = Loader(database)
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
        await self._database.run(b"SELECT 1")

    async def migrate(self) -> None:
        await migrate(self._database)

    async def _rows(self, name: str, *, within: float = STATEMENT_TIMEOUT_SECONDS, **values: Any) -> list[Row]:
        """Return the rows of the text's last statement that has rows."""
        results = await self._database.run(statement(name, **values), block=name in _BLOCKS, within=within)
        return results[-1] if results else []

    async def _worker_rows(self, name: str, **values: Any) -> list[Row]:
        """Return the same for a worker, which must find out well within its lease that a connection is dead."""
        return await self._rows(name, within=WORKER_TIMEOUT_SECONDS, **values)

    async def batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]:
        found = await self._rows("batch_statuses", batches=list(batch_ids))
        statuses = [rows.batch_status(_batch_row(row)) for row in found]
        return {status.batch_id: status for status in statuses}

    async def batch_jobs(self, batch_id: UUID, *, status: JobStatus | None, after: int, limit: int) -> list[JobRecord]:
        rows.check_limit(f"batch {batch_id}", limit, rows.MAX_PAGE, "jobs")
        headers = await self._rows("batch_header", batch=batch_id)
        if not headers:
            raise BatchNotFoundError(batch_id)
        (header,) = headers
        found: list[Standing] = []
        size = limit if status is None else _WINDOW_JOBS
        for window in windows(await self._spans(header, batch_id, status, after=after, limit=limit), after + 1, size):
            first, last = window.start - 1, window.stop - 1
            batch, chunks, claims, failures = await self._database.run(
                statement("job_window", batch=batch_id, after=first, last=last, longest=MAX_CHUNK_JOBS), block=True
            )
            if not batch:
                raise BatchNotFoundError(batch_id)
            all_there = standings(batch[0], chunks, claims, failures, window)
            found += [standing for standing in all_there if status is None or standing.status is status]
            if len(found) >= limit:
                break
        return await self._records(batch_id, header["queue"], found[:limit])

    async def _spans(
        self, batch: Row, batch_id: UUID, status: JobStatus | None, *, after: int, limit: int
    ) -> list[Span]:
        """Return where jobs of this status can be, in order; enough for a page of `limit` jobs."""
        if status is None:
            return [(after + 1, min(after + limit, batch["total"] - 1))]
        if status is JobStatus.RUNNING or status is JobStatus.FAILED:
            name = "running_spans" if status is JobStatus.RUNNING else "failed_spans"
            values = {} if status is JobStatus.RUNNING else {"limit": limit}
            return [(row["lo"], row["hi"]) for row in await self._rows(name, batch=batch_id, after=after, **values)]
        waiting = await self._rows("waiting_spans", batch=batch_id, after=after)
        stopped = BatchState(batch["state"]) in rows.STOPPED
        return rows.waiting_spans(status, waiting, after + 1, total=batch["total"], stopped=stopped)

    async def _records(self, batch_id: UUID, queue: str, found: list[Standing]) -> list[JobRecord]:
        indexes = [standing.index for standing in found]
        payloads = {row["idx"]: row["payload"] for row in await self._rows("job_rows", batch=batch_id, indexes=indexes)}
        errors = {
            row["idx"]: rows.job_error({**row, "failed_at": _utc(row["failed_at"])}, attempt=row["attempt"])
            for row in await self._rows("job_errors", batch=batch_id, indexes=indexes)
        }
        return [
            JobRecord(
                batch_id=batch_id,
                index=standing.index,
                queue=queue,
                payload=msgspec.json.decode(payloads[standing.index]),
                priority=standing.priority,
                status=standing.status,
                attempts=standing.attempts,
                error=errors.get(standing.index),
            )
            for standing in found
            if standing.index in payloads  # the batch may be going away
        ]

    async def batch_errors(self, batch_id: UUID, *, limit: int) -> list[ErrorGroup]:
        groups: dict[str, ErrorGroup] = {}
        for row in await self._rows("batch_errors", batch=batch_id, limit=limit):
            group = ErrorGroup(type=row["error_type"], count=row["count"], index=row["idx"], message=row["message"])
            groups.setdefault(group.type, group)
        return list(groups.values())

    async def cancel_batch(self, batch_id: UUID) -> None:
        await self._rows("stop_batch", batch=batch_id, state=BatchState.CANCELLED.value)
        await self._rows("finish_stopped", batch=batch_id)

    async def set_suspended(self, batch_id: UUID, *, suspended: bool) -> None:
        before, after = ("ready", "held") if suspended else ("held", "ready")
        values: dict[str, Any] = {"batch": batch_id, "suspended": suspended, "from_state": before, "to_state": after}
        (row,) = await self._rows("set_suspended", **values)
        while not row["done"]:
            await asyncio.sleep(_BUSY_SECONDS)  # a worker was just reporting from a chunk that is to be released
            (row,) = await self._rows("set_suspended", **values)
        if not row["found"]:
            raise BatchNotFoundError(batch_id)

    async def list_batches(
        self, *, queue: str | None, metadata: dict[str, str], before: tuple[datetime, UUID] | None, limit: int
    ) -> list[UUID]:
        rows.check_limit("list of batches", limit, rows.MAX_BATCHES, "batches")
        created_at, batch_id = before or _END_OF_TIME
        wanted = msgspec.json.encode(metadata).decode()
        found = await self._rows(
            "list_batches", metadata=wanted, queue=queue, created_at=created_at, batch=batch_id, limit=limit
        )
        return [UUID(bytes=row["id"]) for row in found]

    async def retry_failed(self, batch_id: UUID) -> int:
        (row,) = await self._rows("retry_failed", batch=batch_id)
        jobs = row["jobs"]
        if jobs is None:
            raise BatchNotFoundError(batch_id)
        if jobs < 0:
            raise rows.not_retryable((await self.batch_statuses([batch_id]))[batch_id])
        return int(jobs)

    async def pause_queue(self, queue: str, *, paused: bool) -> None:
        await self._rows("pause_queue", queue=queue, paused=paused)

    async def queue_statistics(self, queue: str, window_seconds: float) -> QueueStatistics:
        (row,) = await self._rows("queue_statistics", queue=queue, window_us=_microseconds(window_seconds))
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
        return {row["queue"]: QueueDepth(**row) for row in await self._rows("queue_depths")}

    async def exchange(self, worker_id: UUID, queue: str, settlement: Settlement | None, limit: int) -> Exchange:
        if settlement is not None:
            settling.check(settlement)
        if worker_id in self._doubt_until:
            await self._free_undelivered(worker_id)
        try:
            text = settling.exchange_text(worker_id, queue, settlement, limit)
            results = await self._database.run(text, block=True, within=WORKER_TIMEOUT_SECONDS)
            claim = await self._claim(*results[-2:]) if limit else None
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._doubt_until[worker_id] = time.monotonic() + STATEMENT_TIMEOUT_SECONDS
            raise
        if claim is not None:
            self._last_claim[worker_id] = claim.id
        exchange = Exchange(claim=claim, busy=bool(limit and results[-1][0]["busy"]))
        if settlement is not None:
            (row,) = results[0]
            exchange.settled = settling.settled(settlement, row)
            if row["state"] in {"Failed", "Cancelled"} and not row["finished"]:
                await self._worker_rows("finish_stopped", batch=UUID(bytes=row["batch_id"]))
        return exchange

    async def _claim(self, claims: list[Row], jobs: list[Row]) -> Claim | None:
        if not claims:
            return None
        (row,) = claims
        batch_id = UUID(bytes=row["batch_id"])
        text = jobs[0]["payloads"].encode()
        if len(text) < GROUP_BYTES - 4:  # it is cut where a character ends
            payloads = msgspec.json.decode(b"[%b]" % text)
        else:
            jobs = await self._worker_rows("payloads", batch=batch_id, lo=row["lo"], hi=row["hi"])
            payloads = [msgspec.json.decode(job["payload"]) for job in jobs]
        return rows.claim({**row, "batch_id": batch_id}, payloads)

    async def _free_undelivered(self, worker_id: UUID) -> None:
        """Free the claims that were given to a worker in an answer which it never got.

        The worker asks for one claim at a time, so all that are newer than the last one it got are such.
        """
        last = self._last_claim.get(worker_id, 0)
        for row in await self._worker_rows("undelivered_claims", worker=worker_id, last=last):
            await self._free(row["id"], lease_us=0, blame=False)
        if time.monotonic() > self._doubt_until[worker_id]:
            del self._doubt_until[worker_id]

    async def heartbeat(self, worker: WorkerRecord) -> None:
        await self._worker_rows("heartbeat", **msgspec.structs.asdict(worker))

    async def retire(self, worker_id: UUID, *, instance: str = "") -> None:
        if instance:
            others = await self._worker_rows("workers_of_instance", worker=worker_id, instance=instance)
            if others:
                await self._worker_rows("delete_workers", ids=[UUID(bytes=row["id"]) for row in others])
        else:
            await self._worker_rows("retire", worker=worker_id)
            self._last_claim.pop(worker_id, None)
            self._doubt_until.pop(worker_id, None)

    async def stopped_batches(self, batch_ids: Collection[UUID]) -> set[UUID]:
        found = await self._worker_rows("claimable_batches", batches=list(batch_ids))
        return set(batch_ids) - {UUID(bytes=row["id"]) for row in found}

    async def tick(self, queue: str) -> None:
        for row in await self._worker_rows("make_due_ready", queue=queue):
            await self._worker_rows("finish_stopped", batch=UUID(bytes=row["id"]))

    async def reap(self, lease_seconds: float) -> int:
        lease_us = _microseconds(lease_seconds)
        released = 0
        # One transaction a claim: each locks the rows of one chunk and one batch only, see queries.sql.
        for row in await self._worker_rows("lost_claims", lease_us=lease_us):
            released += await self._free(row["id"], lease_us=lease_us, blame=True)
        workers = [UUID(bytes=row["id"]) for row in await self._worker_rows("lost_workers", lease_us=lease_us)]
        if workers:
            await self._worker_rows("delete_lost_workers", ids=workers, lease_us=lease_us)
        return released

    async def _free(self, claim_id: int, *, lease_us: int, blame: bool) -> int:
        names = ("free_claim", "count", "commit", "freed")
        text = statement(*names, claim=claim_id, lease_us=lease_us, blame=blame)
        ((row,),) = await self._database.run(text, block=True, within=WORKER_TIMEOUT_SECONDS)
        if row["stopped"] is not None:
            await self._worker_rows("finish_stopped", batch=UUID(bytes=row["stopped"]))
        return int(row["jobs"])

    async def listen(self, wake: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        """Return at once: the server has no notifications, so that workers learn of jobs by polling."""
        del wake

        async def end() -> None:
            return

        return end


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _maybe_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else _utc(moment)


def _batch_row(row: Row) -> Row:
    times = {name: _maybe_utc(row[name]) for name in ("created_at", "started_at", "finished_at")}
    return {**row, **times, "id": UUID(bytes=row["id"])}
