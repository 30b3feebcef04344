"""What both databases do alike when they store a batch: the order of the steps, and what may be stored where."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hammerwork.backends.slices import encode_slice, slices
from hammerwork.errors import (
    BatchConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    HammerworkError,
    InvalidBatchError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from hammerwork.backends.slices import Slice
    from hammerwork.batch import Job, JobBatch

SMALL_BATCH_JOBS = 1_000
"""Up to here the whole batch goes in one round trip, if its payloads fit."""
DELETE_ROWS = 5_000
"""Rows that one transaction of a deletion removes, at most."""
RETRY_JOBS = 10_000
"""Failures that one transaction of a retry turns into chunks, at most."""

DELETING = "Deleting"
ABANDONED = "Abandoned"


class Stored(msgspec.Struct):
    """What is there under the id of a batch."""

    created: bool
    """By this very call."""
    state: str
    sealed: bool
    """All jobs are there."""
    total: int
    """Jobs that are there."""
    fingerprint: str | None
    waiting: bool = False
    """Whether the queue has workers, some of which may be idle, and they have not been notified."""


class Sealed(msgspec.Struct):
    """What has become of a batch that was to be sealed."""

    state: str | None
    """None: it is gone."""
    sealed: bool
    waiting: bool
    """See `Stored`."""


class MissingBatchError(HammerworkError):
    """A batch that is being loaded is not there: somebody has deleted it, or the database has forgotten it."""


class Tables(Protocol):
    """What a database does for `Store`; each is one transaction."""

    def sessions(self) -> int:
        """Return how many sessions were opened so far. A database that has forgotten anything has ended all of them."""
        ...

    def fits_at_once(self, batch: JobBatch, whole: Slice) -> bool:
        """Whether `enqueue_small` can store these jobs."""
        ...

    async def enqueue_small(self, settings: dict[str, Any], whole: Slice) -> Stored:
        """Store all of a batch and seal it, unless its id is taken."""
        ...

    async def open(self, settings: dict[str, Any]) -> Stored:
        """Create a batch without jobs, unless its id is taken."""
        ...

    async def append(self, batch: JobBatch, batch_id: UUID, part: Slice) -> None:
        """Add a slice if `may_append`."""
        ...

    async def seal(self, batch_id: UUID, total: int) -> Sealed:
        """Make a loaded batch claimable if it has so many jobs."""
        ...

    async def begin_deletion(self, batch_id: UUID, state: str) -> bool:
        """Put a batch into the state `DELETING`, or a loading one into `ABANDONED`; False if there is none."""
        ...

    async def delete_slice(self, batch_id: UUID, limit: int) -> bool:
        """Remove some rows of a batch that is being deleted, at last the batch; False if nothing was left."""
        ...

    def wake(self, queue: str) -> None:
        """Let idle workers know that jobs are ready, soon."""
        ...


class Store:
    """Enqueues and deletes batches in one database."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def enqueue(self, batch: JobBatch, jobs: Sequence[Job], *, batch_id: UUID, fingerprint: str | None) -> UUID:
        """Store a valid batch."""
        if len(jobs) <= SMALL_BATCH_JOBS:
            whole = encode_slice(batch, jobs, 0)
            if self._tables.fits_at_once(batch, whole):
                settings = batch_settings(batch, batch_id, fingerprint, whole)
                there = await self._tables.enqueue_small(settings, whole)
                if there.created:
                    if there.waiting and not batch.suspended:
                        await self._wake(batch.queue)
                    return batch_id
        return await self.enqueue_stream(batch, jobs, batch_id=batch_id, fingerprint=fingerprint, progress=None)

    async def enqueue_stream(
        self,
        batch: JobBatch,
        jobs: Iterable[Job] | AsyncIterable[Job],
        *,
        batch_id: UUID,
        fingerprint: str | None,
        progress: Callable[[int], Awaitable[None]] | None,
        anew: bool = False,
    ) -> UUID:
        """Store a batch slice by slice, then make it claimable; `anew`: not behind what was stored of it before."""
        batch.validate_settings()
        if not batch.queue:
            raise InvalidBatchError(f"batch {batch.name!r}: queue: missing; name it with with_queue()")
        there = await self._open(batch, batch_id, fingerprint)
        if anew and there.total and not there.sealed:
            # Not so if somebody else has loaded the same batch to its end meanwhile.
            if await self._tables.begin_deletion(batch_id, ABANDONED):
                await self.finish_deletion(batch_id)
            there = await self._open(batch, batch_id, fingerprint)
        if there.sealed:
            return batch_id
        sessions = self._tables.sessions()
        try:
            await self._load(batch, batch_id, jobs, there.total, progress)
        except (DatabaseError, BatchConflictError):
            raise  # the same call later goes on where this one ended
        except MissingBatchError:
            if self._tables.sessions() == sessions:
                raise _not_loading(batch, batch_id, DELETING) from None
            raise _missing(batch, batch_id) from None
        except Exception:
            # Not so if somebody else has loaded the same batch to its end meanwhile: it may be running.
            if await self._tables.begin_deletion(batch_id, ABANDONED):
                await self.finish_deletion(batch_id)
            raise
        return batch_id

    async def _load(
        self,
        batch: JobBatch,
        batch_id: UUID,
        jobs: Iterable[Job] | AsyncIterable[Job],
        begin: int,
        progress: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        """Store what comes after the first `begin` jobs, and make the batch claimable."""
        end = await self._append_all(batch, batch_id, jobs, begin, progress)
        there = await self._tables.seal(batch_id, end)
        if there.state is None:
            raise MissingBatchError
        if there.state == "Loading":
            raise _forgotten(batch, batch_id)
        if not there.sealed:
            raise _not_loading(batch, batch_id, there.state)
        if there.waiting and not batch.suspended:
            await self._wake(batch.queue)

    async def _wake(self, queue: str) -> None:
        self._tables.wake(queue)
        await asyncio.sleep(0)  # the notification is on its way before the caller does anything else

    async def _append_all(
        self,
        batch: JobBatch,
        batch_id: UUID,
        jobs: Iterable[Job] | AsyncIterable[Job],
        end: int,
        progress: Callable[[int], Awaitable[None]] | None,
    ) -> int:
        """Store what comes after the first `end` jobs; return how many jobs there are."""
        async with aclosing(slices(batch, jobs, skip=end)) as parts:
            async for part in parts:
                await self._tables.append(batch, batch_id, part)
                end = part.end
                if progress is not None:
                    await progress(end)
        if end == 0:
            raise InvalidBatchError(f"batch {batch.name!r}: jobs: the stream is empty; a batch needs at least one")
        return end

    async def _open(self, batch: JobBatch, batch_id: UUID, fingerprint: str | None) -> Stored:
        while True:
            there = await self._tables.open(batch_settings(batch, batch_id, fingerprint, None))
            if there.state not in {DELETING, ABANDONED}:
                break
            await self.finish_deletion(batch_id)  # which was cut off; the id is free then
        if there.fingerprint != fingerprint:
            raise BatchConflictError(
                f"batch {batch.name!r}: the id {batch_id} is taken by a batch with another content "
                f"(fingerprint {there.fingerprint!r}, this one has {fingerprint!r})"
            )
        if not there.sealed and there.state != "Loading":
            raise _not_loading(batch, batch_id, there.state)
        return there

    async def delete(self, batch_id: UUID) -> bool:
        """Remove a batch: first from sight, then its rows in slices."""
        there = await self._tables.begin_deletion(batch_id, DELETING)
        if there:
            await self.finish_deletion(batch_id)
        return there

    async def finish_deletion(self, batch_id: UUID) -> None:
        """Remove what is left of a batch that is being deleted."""
        while await self._tables.delete_slice(batch_id, DELETE_ROWS):
            pass


def may_append(batch: JobBatch, batch_id: UUID, there: tuple[str, bool, int] | None, part: Slice) -> bool:
    """Whether the slice is to be stored; False if somebody else has stored it already.

    Args:
        batch: The batch that is being loaded.
        batch_id: Its id.
        there: What the database has of it, with its row locked: state, whether it is sealed, number of jobs; None if
            nothing.
        part: The slice.

    Raises:
        BatchConflictError: The batch is not being loaded any more, or from another stream.
        MissingBatchError: It is not there.
        DatabaseUnavailableError: Slices that this stream had stored are not there (any more).
    """
    if there is None:
        raise MissingBatchError
    state, sealed, total = there
    if not sealed and state != "Loading":
        raise _not_loading(batch, batch_id, state)
    if total >= part.end:
        return False
    if total < part.lo and not sealed:
        raise _forgotten(batch, batch_id)
    if total != part.lo or sealed:
        what = "has been" if sealed else "is being"
        raise BatchConflictError(
            f"batch {batch.name!r} ({batch_id}): {total:,} jobs are stored, but the stream continues at job "
            f"{part.lo:,}; another stream with the same id {what} loaded"
        )
    return True


def _forgotten(batch: JobBatch, batch_id: UUID) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"batch {batch.name!r} ({batch_id}): the database has lost the last of the stored jobs, as after a crash; "
        "enqueue the same batch again to continue"
    )


def _missing(batch: JobBatch, batch_id: UUID) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"batch {batch.name!r} ({batch_id}): it disappeared while its jobs were being loaded: the database has "
        "lost it, as after a crash, or someone has deleted it; enqueue the same batch again to store all of it"
    )


def _not_loading(batch: JobBatch, batch_id: UUID, state: str) -> BatchConflictError:
    what = "was deleted" if state in {DELETING, ABANDONED} else f"became {state}"
    return BatchConflictError(
        f"batch {batch.name!r} ({batch_id}): it {what} while its jobs were being loaded; only some of them are "
        "stored, and none will run. Delete it before you enqueue it again under this id"
    )


def batch_settings(batch: JobBatch, batch_id: UUID, fingerprint: str | None, whole: Slice | None) -> dict[str, Any]:
    """Return the columns of a batch's row: of a sealed one that has the jobs of `whole`, or of one without jobs."""
    runs: list[list[int]] = []
    for lo, _, priority in whole.chunks if whole is not None else ():
        if not runs or runs[-1][1] != priority:
            runs.append([lo, priority])
    return {
        "id": batch_id,
        "name": batch.name,
        "queue": batch.queue,
        "failure_mode": batch.failure_mode.value,
        "state": "Loading" if whole is None else "Pending",
        "suspended": batch.suspended,
        "total": 0 if whole is None else whole.end,
        "batch_size": batch.batch_size,
        "max_attempts": batch.max_attempts,
        "timeout_seconds": batch.timeout_seconds,
        "retry_policy": batch.retry_policy,
        "top_priority": max((priority for _, priority in runs), default=0),
        "priorities": runs,
        "metadata": batch.metadata,
        "fingerprint": fingerprint,
        "retry_attempt": batch.retry_attempt,
    }
