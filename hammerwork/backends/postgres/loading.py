"""Stores batches: one function call for small ones, binary COPY in slices for the rest."""

from __future__ import annotations

import struct
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.slices import SLICE_BYTES, SLICE_JOBS, Slice, encode_slice, slices
from hammerwork.errors import BatchConflictError, DatabaseUnavailableError, InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from hammerwork.backends.postgres.connection import Database
    from hammerwork.batch import Job, JobBatch

SMALL_BATCH_JOBS = 1_000
"""Up to here the whole batch goes in one round trip; beyond, COPY is faster."""

_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_COPY_PIECE_JOBS = 500


class Loader:
    """Enqueues batches into one database."""

    def __init__(self, database: Database, queries: dict[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def enqueue(self, batch: JobBatch, jobs: Sequence[Job], *, batch_id: UUID, fingerprint: str | None) -> UUID:
        """Store a valid batch."""
        if len(jobs) > SMALL_BATCH_JOBS:
            return await self.enqueue_stream(batch, jobs, batch_id=batch_id, fingerprint=fingerprint, progress=None)
        whole = encode_slice(batch, jobs, 0)
        if sum(map(len, whole.payloads)) > SLICE_BYTES:
            return await self.enqueue_stream(batch, jobs, batch_id=batch_id, fingerprint=fingerprint, progress=None)
        async with self._database.connection() as connection:
            there = await connection.fetchrow(
                self._queries["enqueue_small"],
                _batch_row(batch, batch_id, fingerprint),
                [payload.decode() for payload in whole.payloads],
                msgspec.json.encode(whole.chunks).decode(),
            )
        if there["created"] or _is_stored(batch, batch_id, fingerprint, there):
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
    ) -> UUID:
        """Store a batch slice by slice, then make it claimable."""
        batch.validate_settings()
        if not batch.queue:
            raise InvalidBatchError(f"batch {batch.name!r}: queue: missing; name it with with_queue()")
        async with self._database.connection() as connection:
            there = await connection.fetchrow(self._queries["open_batch"], _batch_row(batch, batch_id, fingerprint))
        if _is_stored(batch, batch_id, fingerprint, there):
            return batch_id
        try:
            end = there["total"]
            async with aclosing(slices(batch, jobs, skip=end)) as parts:
                async for part in parts:
                    await self._append(batch, batch_id, part)
                    end = part.end
                    if progress is not None:
                        await progress(end)
            if end == 0:
                raise InvalidBatchError(f"batch {batch.name!r}: jobs: the stream is empty; a batch needs at least one")
        except (DatabaseUnavailableError, BatchConflictError):
            raise  # the same call later goes on where this one ended
        except Exception:
            # Not so if somebody else has loaded the same batch to its end meanwhile: it may be running.
            async with self._database.connection() as connection:
                abandoned = await connection.fetchval(self._queries["abandon_batch"], batch_id)
            if abandoned:
                await self.delete(batch_id)
            raise
        async with self._database.connection() as connection:
            await connection.execute(self._queries["seal_batch"], batch_id)
        return batch_id

    async def _append(self, batch: JobBatch, batch_id: UUID, part: Slice) -> None:
        async with self._database.transaction() as connection:
            there = await connection.fetchrow(self._queries["lock_batch"], batch_id)
            if there is None or there["state"] in {"Cancelled", "Failed"}:
                what = "was deleted" if there is None else f"is {there['state']}"
                raise BatchConflictError(f"batch {batch.name!r} ({batch_id}): it {what} while its jobs were loaded")
            if there["total"] >= part.end:
                return  # somebody else is loading the same batch and has stored this slice
            if there["total"] != part.lo or there["state"] != "Loading":
                what = "is being" if there["state"] == "Loading" else "has been"
                raise BatchConflictError(
                    f"batch {batch.name!r} ({batch_id}): {there['total']:,} jobs are stored, but the stream goes on at "
                    f"job {part.lo:,}; another stream with the same id {what} loaded"
                )
            await connection.copy_to_table(
                "hammerwork_jobs",
                source=copy_rows(batch_id, part),
                columns=["batch_id", "idx", "payload"],
                format="binary",
            )
            await connection.execute(
                self._queries["append_chunks"], batch_id, msgspec.json.encode(part.chunks).decode()
            )

    async def delete(self, batch_id: UUID) -> bool:
        """Remove a batch: first what can be claimed, then the rows in slices."""
        await self._stop(batch_id)
        # In this order no claim, and then no chunk, can appear behind the deletion (see functions.sql).
        for name in ("delete_claims", "delete_chunks"):
            async with self._database.connection() as connection:
                await connection.execute(self._queries[name], batch_id)
        for name in ("delete_failures", "delete_jobs"):
            deleted = SLICE_JOBS
            while deleted == SLICE_JOBS:
                async with self._database.connection() as connection:
                    tag: str = await connection.execute(self._queries[name], batch_id, SLICE_JOBS)
                deleted = int(tag.rsplit(" ", 1)[1])
        async with self._database.connection() as connection:
            tag = await connection.execute(self._queries["delete_batch"], batch_id)
        return tag == "DELETE 1"

    async def _stop(self, batch_id: UUID) -> None:
        async with self._database.connection() as connection:
            await connection.execute(self._queries["stop_batch"], batch_id, "Cancelled")


def _is_stored(batch: JobBatch, batch_id: UUID, fingerprint: str | None, there: Any) -> bool:
    if there["fingerprint"] != fingerprint:
        raise BatchConflictError(
            f"batch {batch.name!r}: the id {batch_id} is taken by a batch with another content "
            f"(fingerprint {there['fingerprint']!r}, this one has {fingerprint!r})"
        )
    return bool(there["state"] != "Loading")


def _batch_row(batch: JobBatch, batch_id: UUID, fingerprint: str | None) -> str:
    return msgspec.json.encode(
        {
            "id": batch_id,
            "name": batch.name,
            "queue": batch.queue,
            "failure_mode": batch.failure_mode,
            "suspended": batch.suspended,
            "batch_size": batch.batch_size,
            "max_attempts": batch.max_attempts,
            "timeout_seconds": batch.timeout_seconds,
            "retry_policy": batch.retry_policy,
            "metadata": batch.metadata,
            "fingerprint": fingerprint,
        }
    ).decode()


async def copy_rows(batch_id: UUID, part: Slice) -> AsyncIterator[bytes]:
    """Yield the slice in PostgreSQL's binary COPY format (documentation of COPY, "Binary Format")."""
    before_index = struct.pack(">hi", 3, 16) + batch_id.bytes + struct.pack(">i", 4)
    pack = struct.Struct(">ii").pack
    yield _COPY_HEADER
    for start in range(0, len(part.payloads), _COPY_PIECE_JOBS):
        piece = part.payloads[start : start + _COPY_PIECE_JOBS]
        yield b"".join(
            [
                field
                for index, payload in enumerate(piece, part.lo + start)
                for field in (before_index, pack(index, len(payload)), payload)
            ]
        )
    yield _COPY_END
