"""Stores batches: one function call for small ones, binary COPY in slices for the rest."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.postgres.statements import statements
from hammerwork.backends.slices import SLICE_BYTES
from hammerwork.backends.storing import Sealed, Stored, may_append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from hammerwork.backends.postgres.connection import Database
    from hammerwork.backends.postgres.waking import Waker
    from hammerwork.backends.slices import Slice
    from hammerwork.batch import JobBatch

_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_COPY_BYTES = 256 * 1024
_ASYNCHRONOUS = "SET LOCAL synchronous_commit = off"
"""The log is written in order: once the seal, which waits for the disk, is there, so are all slices before it."""


class PostgresTables:
    """The statements of `hammerwork.backends.storing.Tables`."""

    def __init__(self, database: Database, waker: Waker) -> None:
        self._database = database
        self._statements = statements()
        self._waker = waker
        self.wake = waker.wake

    def sessions(self) -> int:
        return self._database.sessions

    async def _fetchrow(self, query: str, **values: Any) -> Any:
        statement = self._statements[query]
        async with self._database.connection() as connection:
            return await connection.fetchrow(statement.text, *statement.arguments(values))

    def fits_at_once(self, batch: JobBatch, whole: Slice) -> bool:
        del batch
        return sum(map(len, whole.payloads)) <= SLICE_BYTES

    async def enqueue_small(self, settings: dict[str, Any], whole: Slice) -> Stored:
        queue = settings["queue"]
        channel = self._waker.begin(queue)
        stored = None
        try:
            row = await self._fetchrow(
                "enqueue",
                settings=_json({**settings, "channel": channel}),
                pages=_json(whole.pages),
                payloads=[text.decode() for text in whole.texts()],
                chunks=_json(whole.chunks),
            )
            stored = Stored(**row)
        finally:
            if channel is not None and (stored is None or stored.waiting):
                self._waker.undo(queue)
        return stored

    async def open(self, settings: dict[str, Any]) -> Stored:
        return Stored(**await self._fetchrow("open", settings=_json(settings)))

    async def append(self, batch: JobBatch, batch_id: UUID, part: Slice) -> None:
        append = self._statements["append"]
        async with self._database.transaction() as connection:
            await connection.execute(_ASYNCHRONOUS)
            there = await connection.fetchrow(self._statements["lock_batch"].text, batch_id)
            if may_append(batch, batch_id, tuple(there) if there is not None else None, part):
                await connection.copy_to_table(
                    "hammerwork_pages",
                    source=copy_pages(batch_id, part),
                    columns=["batch_id", "lo", "hi", "payloads"],
                    format="binary",
                )
                await connection.execute(
                    append.text, *append.arguments({"batch": batch_id, "chunks": _json(part.chunks)})
                )

    async def seal(self, batch_id: UUID, total: int) -> Sealed:
        return Sealed(**await self._fetchrow("seal", batch=batch_id, total=total))

    async def begin_deletion(self, batch_id: UUID, state: str) -> bool:
        row = await self._fetchrow("delete", batch=batch_id, state=state)
        return bool(row[0])

    async def delete_slice(self, batch_id: UUID, limit: int) -> bool:
        row = await self._fetchrow("delete_slice", batch=batch_id, limit=limit)
        return bool(row[0])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def copy_pages(batch_id: UUID, part: Slice) -> AsyncIterator[bytes]:
    """Yield the slice in PostgreSQL's binary COPY format (documentation of COPY, "Binary Format")."""
    head = struct.pack(">hi", 4, 16) + batch_id.bytes
    pack = struct.Struct(">iiiii").pack
    piece = [_COPY_HEADER]
    size = 0
    for (lo, hi), text in zip(part.pages, part.texts(), strict=True):
        piece += (head, pack(4, lo, 4, hi, len(text)), text)
        size += len(text)
        if size > _COPY_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    piece.append(_COPY_END)
    yield b"".join(piece)
