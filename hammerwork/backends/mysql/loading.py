"""Stores batches: one text for small ones, slices of a few texts for the rest."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.mysql.statements import literal, statement
from hammerwork.backends.slices import SLICE_JOBS, Slice, encode_slice, slices
from hammerwork.errors import BatchConflictError, DatabaseError, DatabaseUnavailableError, InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
    from uuid import UUID

    from hammerwork.backends.mysql.connection import Connection, Database, Row
    from hammerwork.batch import Job, JobBatch

SMALL_BATCH_JOBS = 1_000
"""Up to here the whole batch goes in one round trip, if its payloads fit."""
_TEXT_BYTES = 4 * 1024 * 1024
"""About as much goes into one statement; longer ones are no faster."""
_ROOM_BYTES = 64 * 1024
"""Left free in a packet for what is not payload."""
_DUPLICATE = 1062
"""Somebody has stored the batch before."""


class Loader:
    """Enqueues batches into one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, batch: JobBatch, jobs: Sequence[Job], *, batch_id: UUID, fingerprint: str | None) -> UUID:
        """Store a valid batch whose jobs are in running order."""
        if len(jobs) <= SMALL_BATCH_JOBS:
            whole = encode_slice(batch, jobs, 0)
            inserts = self._inserts(batch, batch_id, whole)
            if len(inserts) == 1 and await self._enqueue_small(batch, whole, inserts[0], batch_id, fingerprint):
                return batch_id
        return await self.enqueue_stream(batch, jobs, batch_id=batch_id, fingerprint=fingerprint, progress=None)

    def _inserts(self, batch: JobBatch, batch_id: UUID, part: Slice) -> list[bytes]:
        longest = self._database.max_packet_bytes - _ROOM_BYTES
        texts = list(insert_texts(batch_id, part, min(_TEXT_BYTES, longest)))
        for text in texts:
            if len(text) > longest:
                raise InvalidBatchError(
                    f"batch {batch.name!r}: jobs {part.lo} to {part.end - 1}: a payload takes {len(text):,} bytes as a "
                    "statement, more than the server's max_allowed_packet "
                    f"({self._database.max_packet_bytes:,}) admits; set that to 16M or more"
                )
        return texts

    async def _enqueue_small(
        self, batch: JobBatch, whole: Slice, insert: bytes, batch_id: UUID, fingerprint: str | None
    ) -> bool:
        """Store the batch as a whole, unless its id is taken; returns whether it was stored."""
        settings = _batch_row(batch, batch_id, fingerprint) | {
            "state": "Pending",
            "total": whole.end,
            "priorities": _json(priorities([], whole)),
            "top_priority": max(priority for _, _, priority in whole.chunks),
        }
        chunks = {"chunks": _chunk_rows(whole), "batch": batch_id, "state": "held" if batch.suspended else "ready"}
        text = b";\n".join(
            [
                b"START TRANSACTION",
                statement("insert_batch", **settings),
                insert,
                statement("insert_chunks", **chunks),
                b"COMMIT",
            ]
        )
        try:
            await self._database.run(text)
        except DatabaseError as error:
            if error.code != _DUPLICATE:
                raise
            return False
        return True

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
        there = await self._open(batch, batch_id, fingerprint)
        if there["state"] != "Loading":
            return batch_id
        try:
            async with aclosing(slices(batch, jobs, skip=there["total"])) as parts:
                end = await self._store(batch, batch_id, parts, progress)
            if end == there["total"] == 0:
                raise InvalidBatchError(f"batch {batch.name!r}: jobs: the stream is empty; a batch needs at least one")
        except (DatabaseUnavailableError, BatchConflictError):
            raise  # the same call later goes on where this one ended
        except Exception:
            # Not so if somebody else has loaded the same batch to its end meanwhile: it may be running.
            ((row,),) = await self._database.run(statement("abandon_batch", batch=batch_id))
            if row["abandoned"]:
                await self.delete(batch_id)
            raise
        await self._database.run(statement("seal_batch", batch=batch_id))
        return batch_id

    async def _open(self, batch: JobBatch, batch_id: UUID, fingerprint: str | None) -> Row:
        settings = _batch_row(batch, batch_id, fingerprint) | {
            "state": "Loading",
            "total": 0,
            "priorities": "[]",
            "top_priority": 0,
        }
        await self._database.run(statement("insert_batch", "unless_there", **settings))
        (rows,) = await self._database.run(statement("stored_batch", batch=batch_id))
        there = rows[0] if rows else None
        if there is None or there["fingerprint"] != fingerprint:
            what = "was deleted meanwhile" if there is None else f"has the fingerprint {there['fingerprint']!r}"
            raise BatchConflictError(
                f"batch {batch.name!r}: the id {batch_id} is taken by a batch with another content "
                f"(it {what}, this one has {fingerprint!r})"
            )
        return there

    async def _store(
        self,
        batch: JobBatch,
        batch_id: UUID,
        parts: AsyncIterator[Slice],
        progress: Callable[[int], Awaitable[None]] | None,
    ) -> int:
        """Store slices; returns the end of the last one."""
        end = 0
        async for part in parts:
            inserts = self._inserts(batch, batch_id, part)
            end = await self._database.transact(partial(self._append, batch, batch_id, part, inserts))
            if progress is not None:
                await progress(end)
        return end

    async def _append(
        self, batch: JobBatch, batch_id: UUID, part: Slice, inserts: list[bytes], connection: Connection
    ) -> int:
        (rows,) = await connection.run(statement("begin_append", batch=batch_id))
        there = rows[0] if rows else None
        if there is None or there["state"] in {"Cancelled", "Failed"}:
            what = "was deleted" if there is None else f"is {there['state']}"
            raise BatchConflictError(f"batch {batch.name!r} ({batch_id}): it {what} while its jobs were loaded")
        if there["total"] >= part.end:
            await connection.run(b"ROLLBACK")
            return part.end  # somebody else is loading the same batch and has stored this slice
        if there["total"] != part.lo or there["state"] != "Loading":
            what = "is being" if there["state"] == "Loading" else "has been"
            raise BatchConflictError(
                f"batch {batch.name!r} ({batch_id}): {there['total']:,} jobs are stored, but the stream goes on at "
                f"job {part.lo:,}; another stream with the same id {what} loaded"
            )
        for insert in inserts:
            await connection.run(insert)
        runs = priorities(msgspec.json.decode(there["priorities"]), part)
        end = {"total": part.end, "priorities": _json(runs), "chunks": _chunk_rows(part)}
        await connection.run(
            statement("insert_chunks", batch=batch_id, state="held", **end)
            + b";"
            + statement("end_append", batch=batch_id, **end)
        )
        return part.end

    async def delete(self, batch_id: UUID) -> bool:
        """Remove a batch: first what can be claimed, then the rows in slices."""
        run = self._database.run
        await run(statement("stop_batch", batch=batch_id, state="Cancelled"))
        # A claim that was being taken may appear until its chunk is gone, so claims are removed before and after.
        for rows in ("claims", "chunks", "claims"):
            while ids := [row["id"] for row in (await run(statement(f"{rows}_of_batch", batch=batch_id)))[0]]:
                await run(statement(f"delete_{rows}", ids=ids))
        for rows in ("failures", "jobs"):
            deleted = SLICE_JOBS
            while deleted == SLICE_JOBS:
                ((row,),) = await run(statement(f"delete_{rows}", batch=batch_id, limit=SLICE_JOBS))
                deleted = row["deleted"]
        ((row,),) = await run(statement("delete_batch", batch=batch_id))
        return bool(row["deleted"])


def insert_texts(batch_id: UUID, part: Slice, limit: int) -> Iterator[bytes]:
    """Yield the statements that store the slice's jobs, each of at most about `limit` bytes."""
    # Escaping everything at once costs a tenth of escaping each payload; encoded JSON has no NUL.
    payloads = escaped_payloads(part.payloads)
    head = b"INSERT INTO hammerwork_jobs (batch_id, idx, payload) VALUES "
    row = b"(" + literal(batch_id) + b",%d,'%b')"
    rows = [row % (index, payload) for index, payload in enumerate(payloads, part.lo)]
    total = sum(map(len, payloads)) + len(rows) * (len(row) + 8)
    if total <= limit:
        yield head + b",".join(rows)
        return
    start = size = 0
    for position, text in enumerate(rows):
        if size and size + len(text) + 1 > limit:
            yield head + b",".join(rows[start:position])
            start, size = position, 0
        size += len(text) + 1
    yield head + b",".join(rows[start:])


def escaped_payloads(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return payloads as they stand between the quotes of a string literal."""
    text = b"\0".join(payloads)
    if b"\\" not in text and b"'" not in text:
        return payloads
    return text.replace(b"\\", b"\\\\").replace(b"'", b"\\'").split(b"\0")


def priorities(known: list[list[int]], part: Slice) -> list[list[int]]:
    """Return [[first index, priority], …] with the slice's chunks added to what is known of the jobs before."""
    runs = list(known)
    for lo, _, priority in part.chunks:
        if not runs or runs[-1][1] != priority:
            runs.append([lo, priority])
    return runs


def _chunk_rows(part: Slice) -> str:
    return _json([(lo, hi, 4 - priority) for lo, hi, priority in part.chunks])


def _batch_row(batch: JobBatch, batch_id: UUID, fingerprint: str | None) -> dict[str, Any]:
    return {
        "id": batch_id,
        "name": batch.name,
        "queue": batch.queue,
        "failure_mode": batch.failure_mode.value,
        "suspended": batch.suspended,
        "batch_size": batch.batch_size,
        "max_attempts": batch.max_attempts,
        "timeout_seconds": batch.timeout_seconds,
        "retry_policy": _json(batch.retry_policy),
        "metadata": _json(batch.metadata),
        "fingerprint": fingerprint,
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
