"""The most that the driver can do: binary COPY of the same rows, without a queue."""

from __future__ import annotations

import io
import struct
import time
import uuid
from typing import TYPE_CHECKING

import msgspec

from benchmarks.payload import payload
from benchmarks.processes import ProgramError
from benchmarks.servers import Postgres
from hammerwork import JobQueue

if TYPE_CHECKING:
    from benchmarks.measuring import Load


async def raw_copy(load: Load) -> dict[str, float]:
    """Copy rows, one for each job, from a buffer that is ready."""
    server = load.server
    assert isinstance(server, Postgres)
    url = await server.fresh_database()
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
    rows = io.BytesIO(_binary_rows(load.jobs))
    async with server.connection(url) as connection:
        await connection.execute("CREATE TABLE raw (batch_id uuid, idx int, payload json, PRIMARY KEY (batch_id, idx))")
        started = time.perf_counter()
        await connection.copy_to_table("raw", source=rows, columns=["batch_id", "idx", "payload"], format="binary")
        seconds = time.perf_counter() - started
        count = await connection.fetchval("SELECT count(*) FROM raw")
    if count != load.jobs:
        raise ProgramError(f"raw COPY of {load.jobs:,} rows: {count:,} are in the table")
    await server.drop_database(url)
    return {"raw-copy": count / seconds}


def _binary_rows(count: int) -> bytes:
    """Return the rows in PostgreSQL's binary COPY format."""
    batch_id = uuid.uuid4().bytes
    encode = msgspec.json.encode
    rows = bytearray(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for number in range(count):
        text = encode(payload(number))
        rows += struct.pack(">hi16siii", 3, 16, batch_id, 4, number, len(text)) + text
    return bytes(rows + b"\xff\xff")
