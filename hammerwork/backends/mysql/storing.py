"""Stores batches: one text for small ones, slices of a few texts for the rest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.mysql.statements import escaped, literal, statement
from hammerwork.backends.storing import Sealed, Stored, may_append
from hammerwork.errors import DatabaseError, InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from hammerwork.backends.mysql.chores import Chores
    from hammerwork.backends.mysql.connection import Connection, Database
    from hammerwork.backends.slices import Slice
    from hammerwork.batch import JobBatch

_TEXT_BYTES = 4 * 1024 * 1024
"""About as much goes into one statement; longer ones are no faster."""
_ROOM_BYTES = 64 * 1024
"""Left free in a packet for what is not payload."""
_DUPLICATE = 1062
"""Somebody has stored the batch before."""


class MysqlTables:
    """The statements of `hammerwork.backends.storing.Tables`."""

    def __init__(self, database: Database, chores: Chores) -> None:
        self._database = database
        self._chores = chores
        self.delete_slice = chores.delete_slice

    def sessions(self) -> int:
        return self._database.sessions

    def _inserts(self, batch: JobBatch, batch_id: UUID, part: Slice) -> list[bytes]:
        longest = self._database.max_packet_bytes - _ROOM_BYTES
        texts = list(insert_texts(batch_id, part, min(_TEXT_BYTES, longest)))
        for text in texts:
            if len(text) > longest:
                raise InvalidBatchError(
                    f"batch {batch.name!r}: jobs {part.lo} to {part.end - 1}: a payload takes {len(text):,} bytes as a "
                    "statement, more than the server's max_allowed_packet "
                    f"({self._database.max_packet_bytes:,}) allows; set that to 16M or more"
                )
        return texts

    def wake(self, queue: str) -> None:
        """Do nothing: the server has no notifications."""

    def fits_at_once(self, batch: JobBatch, whole: Slice) -> bool:
        del batch
        longest = min(_TEXT_BYTES, self._database.max_packet_bytes - _ROOM_BYTES)
        return 2 * sum(map(len, whole.payloads)) + 64 * len(whole.pages) <= longest

    async def enqueue_small(self, settings: dict[str, Any], whole: Slice) -> Stored:
        batch_id = settings["id"]
        chunks = _json(whole.chunks)
        texts = [
            b"START TRANSACTION",
            statement("insert_batch", **_row(settings)),
            *insert_texts(batch_id, whole, self._database.max_packet_bytes),
            statement("insert_chunks", batch=batch_id, chunks=chunks),
        ]
        if not settings["suspended"]:
            texts.append(statement("insert_ready", batch=batch_id, chunks=chunks))
        try:
            await self._database.run(b";\n".join([*texts, b"COMMIT"]))
        except DatabaseError as error:
            if error.code != _DUPLICATE:
                raise
            return Stored(created=False, state="", sealed=False, total=0, fingerprint=None)
        return Stored(created=True, state="Pending", sealed=True, total=whole.end, fingerprint=settings["fingerprint"])

    async def open(self, settings: dict[str, Any]) -> Stored:
        while True:
            await self._database.run(statement("insert_batch", "unless_there", **_row(settings)))
            found = await self._chores.rows("stored_batch", batch=settings["id"])
            if found:  # else it has been deleted in between
                (row,) = found
                return Stored(created=False, **{**row, "sealed": bool(row["sealed"])})

    async def append(self, batch: JobBatch, batch_id: UUID, part: Slice) -> None:
        inserts = self._inserts(batch, batch_id, part)
        await self._database.transact(partial(self._append, batch, batch_id, part, inserts))

    async def _append(
        self, batch: JobBatch, batch_id: UUID, part: Slice, inserts: list[bytes], connection: Connection
    ) -> None:
        (found,) = await connection.run(statement("lock_batch", batch=batch_id))
        there = found[0] if found else None
        known = (there["state"], bool(there["sealed"]), there["total"]) if there is not None else None
        if not may_append(batch, batch_id, known, part):
            await connection.run(b"ROLLBACK")
            return
        assert there is not None, "else it has been refused"
        for insert in inserts[:-1]:
            await connection.run(insert)
        runs = priorities(msgspec.json.decode(there["priorities"]), part)
        end = [
            inserts[-1],
            statement("insert_chunks", batch=batch_id, chunks=_json(part.chunks)),
            statement("end_append", batch=batch_id, total=part.end, priorities=_json(runs)),
        ]
        if sum(map(len, end)) <= _TEXT_BYTES:
            await connection.run(b";\n".join(end))
        else:
            await connection.run(end[0])
            await connection.run(b";\n".join(end[1:]))

    async def seal(self, batch_id: UUID, total: int) -> Sealed:
        (row,) = await self._chores.rows("seal", batch=batch_id, total=total)
        return Sealed(state=row["state"], sealed=bool(row["sealed"]), waiting=False)

    async def begin_deletion(self, batch_id: UUID, state: str) -> bool:
        (row,) = await self._chores.rows("delete", batch=batch_id, state=state)
        return bool(row["there"])


def insert_texts(batch_id: UUID, part: Slice, limit: int) -> Iterator[bytes]:
    """Yield the statements that store the slice's pages, each of at most about `limit` bytes."""
    head = b"INSERT INTO hammerwork_pages (batch_id, lo, hi, payloads) VALUES "
    row = b"(" + literal(batch_id) + b",%d,%d,'%b')"
    rows: list[bytes] = []
    size = 0
    for (lo, hi), payloads in zip(part.pages, part.texts(), strict=True):
        text = row % (lo, hi, escaped(payloads))
        if rows and size + len(text) + 1 > limit:
            yield head + b",".join(rows)
            rows, size = [], 0
        rows.append(text)
        size += len(text) + 1
    yield head + b",".join(rows)


def priorities(known: list[list[int]], part: Slice) -> list[list[int]]:
    """Return [[first index, priority], …] with the slice's chunks added to what is known of the jobs before."""
    runs = list(known)
    for lo, _, priority in part.chunks:
        if not runs or runs[-1][1] != priority:
            runs.append([lo, priority])
    return runs


def _row(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, **{name: _json(settings[name]) for name in ("retry_policy", "priorities", "metadata")}}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
