"""Compares how payloads may be stored: `python -m benchmarks.page_format` (see docs/decisions/005)."""

from __future__ import annotations

import asyncio
import random
import struct
import time
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from benchmarks.payload import payload
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOBS = 300_000
CLAIM = 1_000
ROUNDS = 3
KINDS = [(1, "json"), (50, "text"), (100, "text"), (100, "json"), (250, "text")]
"""Jobs in a row of the table, and the type of its payload column."""
READ = """
SELECT '[' || string_agg(payloads, ',') || ']'
FROM (SELECT payloads::text AS payloads FROM t WHERE batch_id = $1 AND lo BETWEEN $2 AND $3 ORDER BY lo) pages
"""


def hard_payload(number: int) -> dict[str, Any]:
    """Return a payload of about the same length that hardly compresses."""
    return {"user": number, "token": random.Random(number).randbytes(20).hex()}


def rows(batch_id: uuid.UUID, texts: list[bytes], jobs: int, kind: str) -> Iterator[bytes]:
    """Yield the rows in PostgreSQL's binary COPY format."""
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for lo in range(0, len(texts), jobs):
        text = b",".join(texts[lo : lo + jobs])
        if kind == "json" and jobs > 1:
            text = b"[%b]" % text
        yield struct.pack(">hi16siii", 3, 16, batch_id.bytes, 4, lo, len(text)) + text
    yield b"\xff\xff"


async def measure(url: str, make: Callable[[int], dict[str, Any]]) -> None:
    """Load and read the same jobs in each form in turn, and print what it took."""
    connection = await asyncpg.connect(url)
    texts = [msgspec.json.encode(make(number)) for number in range(JOBS)]
    for round_ in range(ROUNDS):
        for jobs, kind in KINDS:
            await connection.execute("DROP TABLE IF EXISTS t")
            await connection.execute(
                f"CREATE TABLE t (batch_id uuid, lo int, payloads {kind}, PRIMARY KEY (batch_id, lo));"
                "ALTER TABLE t ALTER payloads SET COMPRESSION lz4; CHECKPOINT"
            )
            batch_id = uuid.uuid4()
            log = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
            started = time.perf_counter()
            source = b"".join(rows(batch_id, texts, jobs, kind))
            await connection.copy_to_table("t", source=_stream(source), format="binary")
            loaded = time.perf_counter()
            wal = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')") - log
            await connection.execute("VACUUM ANALYZE t")
            reading = time.perf_counter()
            for lo in range(0, JOBS, CLAIM):
                await connection.fetchval(READ, batch_id, lo, lo + CLAIM - 1)
            ended = time.perf_counter()
            size = await connection.fetchval("SELECT pg_total_relation_size('t')")
            print(
                f"round {round_}: {jobs:3} {kind}  load {JOBS / (loaded - started):9,.0f} jobs/s  "
                f"read {(ended - reading) / (JOBS / CLAIM) * 1000:.2f} ms per {CLAIM:,}  "
                f"disk {size / JOBS:.0f}, WAL {wal / JOBS:.0f} bytes/job",
                flush=True,
            )
    await connection.close()


async def _stream(data: bytes) -> Any:
    step = 256 * 1024
    for start in range(0, len(data), step):
        yield data[start : start + step]


if __name__ == "__main__":
    with postgres_server({"fsync": "on", "shared_buffers": "1GB", "max_wal_size": "8GB"}) as server:
        for made, name in ((payload, "the benchmarks' payload"), (hard_payload, "payloads that hardly compress")):
            print(name)
            asyncio.run(measure(server.url(), made))
