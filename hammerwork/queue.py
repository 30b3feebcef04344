"""`JobQueue`: what a program calls to enqueue batches and to follow, steer and delete them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from hammerwork.backends import connect_backend
from hammerwork.errors import BatchNotFoundError, InvalidBatchError
from hammerwork.selection import select
from hammerwork.timing import HEARTBEATS_PER_LEASE, SILENT_HEARTBEATS, UPKEEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from uuid import UUID

    from hammerwork.backends.protocol import Backend, QueryRows
    from hammerwork.batch import BatchState, Job, JobBatch, JobStatus
    from hammerwork.reports import (
        BatchStatus,
        ErrorGroup,
        JobRecord,
        QueueActivity,
        QueueDepth,
        QueueStatistics,
        WorkerInfo,
    )

MAX_FINGERPRINT_LENGTH = 128


class JobQueue:
    """A queue in a database. One object serves a whole program; all methods may be called concurrently.

    Every method raises `DatabaseUnavailableError` when the database cannot be reached; it may then be called again.
    What waiting does not cure is a `DatabaseRefusedError`, anything else that the database or its driver says a
    `DatabaseError`, the base of both.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @classmethod
    async def connect(cls, url: str, *, max_connections: int = 10, connect_timeout: float = 10.0) -> Self:
        """Open the queue in the database at `url`, e.g. ``postgresql://user:password@host/database``.

        Args:
            url: The driver's URL, with its options in the query part.
            max_connections: Most connections held open at a time; the first is opened now.
            connect_timeout: Seconds to wait for each connection.

        Raises:
            UnsupportedDatabaseError: The URL cannot be used, its driver is not installed, or the server is of a kind or
                version, or the database of an encoding, that is not supported.
            DatabaseRefusedError: The server does not let this user in, or not with these options.
            IncompatibleDatabaseError: Only newer versions may work on the database.
            DatabaseUnavailableError: No connection within the time.
        """
        return cls(await connect_backend(url, max_connections=max_connections, connect_timeout=connect_timeout))

    async def close(self) -> None:
        """Close all connections."""
        await self.backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ping(self) -> None:
        """Return once the database answers."""
        await self.backend.ping()

    async def create_tables(self) -> None:
        """Create or upgrade the tables. Harmless when they are there, and when several programs call it at once."""
        await self.backend.migrate()

    async def check_version(self) -> None:
        """Raise `IncompatibleDatabaseError` if only newer versions may work on the database any more.

        `connect` does so too, as do workers while they run, and calls whose statement is not understood any more.
        """
        await self.backend.check_version()

    async def enqueue_batch(
        self, batch: JobBatch, *, batch_id: UUID | None = None, fingerprint: str | None = None
    ) -> UUID:
        """Store a batch of at most 10,000 jobs and make it claimable, whole or not at all; return its id.

        Args:
            batch: The batch; it is not changed.
            batch_id: The batch's id: enqueueing the same id again stores nothing. Default: `JobBatch.id`, so the same
                object may be enqueued again after a `DatabaseUnavailableError`, and is stored once.
            fingerprint: Any text of at most 128 characters that tells the batch's content.

        Raises:
            InvalidBatchError: The batch breaks a rule.
            BatchConflictError: `batch_id` is taken by a batch with another fingerprint, or the object was enqueued with
                other jobs before.
        """
        batch.validate()
        _check_fingerprint(batch, fingerprint)
        if batch_id is None:
            batch.note_enqueued()
        return await self.backend.enqueue(batch, batch.jobs, batch_id=batch_id or batch.id, fingerprint=fingerprint)

    async def enqueue_stream(
        self,
        batch: JobBatch,
        jobs: Iterable[Job] | AsyncIterable[Job],
        *,
        batch_id: UUID | None = None,
        fingerprint: str | None = None,
        progress: Callable[[int], Awaitable[None]] | None = None,
        anew: bool = False,
    ) -> UUID:
        """Store a batch of any size from a stream of jobs, in slices, with bounded memory; return its id.

        Nothing can be claimed before the last slice is stored. When the stream raises, or a job in it breaks a rule,
        everything stored of the batch is removed and the error goes on to the caller. When the connection breaks or the
        process dies, call again with the same `batch_id` and the same stream: what is stored already is skipped.

        Args:
            batch: The settings; it must have a queue and no jobs.
            jobs: The jobs, in an order that is the same each time.
            batch_id: See `enqueue_batch`. A second stream with the same settings needs a `JobBatch` of its own.
            fingerprint: See `enqueue_batch`.
            progress: Awaited after each slice with the number of jobs stored so far.
            anew: The stream is another one each time, as rows of a query are: what an earlier call has left half stored
                is removed first, not continued.

        Raises:
            InvalidBatchError: The settings or a job break a rule.
            BatchConflictError: `batch_id` is taken by a batch with another fingerprint, or the batch was cancelled or
                deleted meanwhile, or loaded from another stream; or the object has been stored from a stream before.
            DatabaseUnavailableError: See above; also if a crash made the database forget what was stored.
        """
        if batch.jobs:
            raise InvalidBatchError(
                f"batch {batch.name!r}: jobs: {len(batch.jobs):,} jobs beside the stream; give all jobs in the stream"
            )
        _check_fingerprint(batch, fingerprint)
        if batch_id is None:
            batch.note_enqueued()
        stored = await self.backend.enqueue_stream(
            batch, jobs, batch_id=batch_id or batch.id, fingerprint=fingerprint, progress=progress, anew=anew
        )
        if batch_id is None:
            batch.note_streamed()
        return stored

    def query(self, sql: str, *, timeout: float, alone: UUID) -> AbstractAsyncContextManager[QueryRows]:
        """Make a query of the user's in the queue's database; its rows are what the block gets, one at a time.

        Each row is an object of JSON, from column to value, and all are of one snapshot. They come as they are taken,
        so there may be any number. The server lets the query only read, with the rights of the URL's user.

        Args:
            sql: One statement that returns rows.
            timeout: Seconds until the server gives it up, until the last row is taken.
            alone: The id of the batch that the rows are for: only one process at a time queries for it.

        Raises:
            QueryError: It cannot be made, or a row cannot be read; also while rows are taken.
        """
        return self.backend.query(sql, timeout=timeout, alone=alone)

    async def get_batch_status(self, batch_id: UUID) -> BatchStatus:
        """Return the exact counts of a batch; raises `BatchNotFoundError`."""
        statuses = await self.backend.batch_statuses([batch_id])
        if batch_id not in statuses:
            raise BatchNotFoundError(batch_id)
        return statuses[batch_id]

    async def get_batch_statuses(self, batch_ids: Collection[UUID]) -> dict[UUID, BatchStatus]:
        """Return the exact counts of many batches in one query; unknown ids are left out."""
        return await self.backend.batch_statuses(batch_ids)

    async def get_batch_jobs(
        self, batch_id: UUID, *, status: JobStatus | None = None, after: int = -1, limit: int = 1_000
    ) -> list[JobRecord]:
        """Return jobs of a batch by index: at most `limit` (1 to 10,000), those with an index above `after`.

        Args:
            batch_id: The batch; raises `BatchNotFoundError`.
            status: Only jobs with this status.
            after: Index of the last job of the previous page; -1 for the first page.
            limit: Size of a page.
        """
        return await self.backend.batch_jobs(batch_id, status=status, after=after, limit=limit)

    async def get_batch_errors(self, batch_id: UUID, *, limit: int = 10) -> list[ErrorGroup]:
        """Return the recorded failures of a batch, grouped by type, the most frequent first."""
        return await self.backend.batch_errors(batch_id, limit=limit)

    async def wait(self, batch_id: UUID, *, timeout: float | None = None, interval: float = 0.2) -> BatchStatus:
        """Return the batch's status once it has finished; raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not (status := await self.get_batch_status(batch_id)).finished:
                await asyncio.sleep(interval)
        return status

    async def cancel_batch(self, batch_id: UUID) -> BatchStatus:
        """Cancel what has not started; running jobs finish and are counted. No effect on a finished batch."""
        await self.backend.cancel_batch(batch_id)
        return await self.get_batch_status(batch_id)

    async def suspend_batch(self, batch_id: UUID) -> None:
        """Let no further job of the batch start until `resume_batch`; running jobs go on."""
        await self.backend.set_suspended(batch_id, suspended=True)

    async def resume_batch(self, batch_id: UUID) -> None:
        """Undo `suspend_batch`."""
        await self.backend.set_suspended(batch_id, suspended=False)

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        error_types: Collection[str] | None = None,
        indexes: str | None = None,
        attempt: int | None = None,
    ) -> int:
        """Run failed jobs of a finished batch again, from their first attempt; return how many jobs.

        Of a failed FailFast batch, what was cancelled runs too, if any failed job does. The recorded failures of the
        jobs that run again are removed; where nothing is chosen, all of the batch.

        Args:
            batch_id: The batch.
            error_types: Only jobs whose last attempt failed with one of these types.
            indexes: Only these jobs, e.g. ``5-9,77``.
            attempt: The caller's number of this retry. The batch remembers the highest one, from the same transaction
                with which the retry begins: a number that is not above it does nothing and returns 0.

        Raises:
            InvalidSelectionError: `indexes` cannot be understood.
            BatchConflictError: The batch has not finished, or it was cancelled.
        """
        return await self.backend.retry_failed(batch_id, select(error_types, indexes), attempt)

    async def list_batches(
        self,
        *,
        queue: str | None = None,
        metadata: dict[str, str] | None = None,
        state: BatchState | None = None,
        before: BatchStatus | None = None,
        limit: int = 100,
    ) -> list[BatchStatus]:
        """Return batches, the newest first.

        Args:
            queue: Only those of this queue.
            metadata: Only those that have all of these entries.
            state: Only those in this state.
            before: Last batch of the previous page.
            limit: Size of a page, 1 to 1,000.
        """
        ids = await self.backend.list_batches(
            queue=queue,
            metadata=metadata or {},
            state=state,
            before=(before.created_at, before.batch_id) if before is not None else None,
            limit=limit,
        )
        statuses = await self.backend.batch_statuses(ids)
        return [statuses[batch_id] for batch_id in ids if batch_id in statuses]

    async def delete_batch(self, batch_id: UUID) -> bool:
        """Remove a batch and all its rows, in slices; running jobs of it go on, uncounted. False: there was none."""
        return await self.backend.delete_batch(batch_id)

    async def get_queue_depths(self) -> dict[str, QueueDepth]:
        """Return the backlog of every queue that has one, by the queue's name."""
        return await self.backend.queue_depths()

    async def get_queue_activities(
        self, queues: Collection[str], window: timedelta = timedelta(hours=1)
    ) -> dict[str, QueueActivity]:
        """Return what the workers of many queues did within the last `window`, in one query, by the queue's name.

        To the minute, of the last 7 days; a queue in which no attempt ended is left out.
        """
        return await self.backend.queue_activities(queues, window.total_seconds())

    async def pause_queue(self, queue: str) -> None:
        """Let no further job of the queue start, of any batch, until `resume_queue`; running jobs go on."""
        await self.backend.pause_queue(queue, paused=True)

    async def resume_queue(self, queue: str) -> None:
        """Undo `pause_queue`."""
        await self.backend.pause_queue(queue, paused=False)

    async def get_queue_statistics(self, queue: str, window: timedelta = timedelta(hours=1)) -> QueueStatistics:
        """Return what happened in the queue within the last `window`, to the minute; 7 days are kept."""
        return await self.backend.queue_statistics(queue, window.total_seconds())

    async def get_workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """Return the workers of a queue, or of all queues."""
        return await self.backend.workers(queue)

    async def release_lost_claims(self) -> int:
        """Give the jobs of lost workers back to their queues; return how many jobs. Workers see to that themselves too.

        A worker is lost when the upkeep has seen nothing of it for its lease. Time in which nobody does the upkeep, as
        while the database cannot be reached, does not count.
        """
        return await self.backend.reap()

    async def forget_workers(self, instances: Collection[str], *, certain: bool) -> set[str]:
        """Recover the claims of workers whose processes have ended now, not when their leases end.

        What they had begun to run, alone, is blamed for their loss as it would be then.

        Args:
            instances: Where they ran, see `Worker`; those of their processes (INSTANCE/NUMBER) are meant, too.
            certain: Whether they are known to have ended. If not, a worker stays that was heard of lately, which is one
                and a half of its heartbeats, by the clock of the upkeep.

        Returns:
            Those of the instances that still have a worker.
        """
        return await self.backend.forget_workers(
            instances, 0.0 if certain else SILENT_HEARTBEATS / HEARTBEATS_PER_LEASE
        )

    async def upkeep(self) -> None:
        """Do what somebody must do each second for the queues of this database, if nobody has just done it.

        Due retries become ready, the jobs of lost workers go back to their queues, deletions and retries that were cut
        off go on. Workers see to it by themselves; this is for programs that follow batches without workers.
        """
        await self.backend.upkeep(UPKEEP_SECONDS)


def _check_fingerprint(batch: JobBatch, fingerprint: str | None) -> None:
    if fingerprint is not None and (len(fingerprint) > MAX_FINGERPRINT_LENGTH or "\0" in fingerprint):
        raise InvalidBatchError(
            f"batch {batch.name!r}: fingerprint: {len(fingerprint)} characters; at most {MAX_FINGERPRINT_LENGTH}, "
            "without NUL"
        )
