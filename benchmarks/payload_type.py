"""Compares column types for the payload: `python -m benchmarks.payload_type` (see docs/decisions/003)."""

from __future__ import annotations

import asyncio
import time
import uuid

import asyncpg

from benchmarks.payload import payload
from hammerwork import Job, JobBatch
from hammerwork.backends.postgres.loading import copy_rows
from hammerwork.backends.slices import encode_slice
from tests.harness.servers.postgres import postgres_server

JOBS = 200_000
CLAIM = 1_000
ROUNDS = 3
JSONB_VERSION = b"\x01"
READ = """
SELECT '[' || string_agg(p, ',') || ']'
FROM (SELECT payload::text AS p FROM t WHERE batch_id = $1 AND idx BETWEEN $2 AND $3 ORDER BY idx) jobs
"""


async def measure(url: str) -> None:
    """Load and read the same jobs with each type in turn, and print what it took."""
    connection = await asyncpg.connect(url)
    jobs = encode_slice(JobBatch("b", queue="q"), [Job("q", payload(n)) for n in range(JOBS)], 0)
    binary_json = encode_slice(JobBatch("b", queue="q"), [Job("q", payload(n)) for n in range(JOBS)], 0)
    binary_json.payloads = [JSONB_VERSION + text for text in binary_json.payloads]
    for _ in range(ROUNDS):
        for kind in ("json", "jsonb", "text"):
            await connection.execute("DROP TABLE IF EXISTS t")
            await connection.execute(
                f"CREATE TABLE t (batch_id uuid, idx int, payload {kind}, PRIMARY KEY (batch_id, idx))"
            )
            await connection.execute("CHECKPOINT")
            batch_id = uuid.uuid4()
            rows = copy_rows(batch_id, binary_json if kind == "jsonb" else jobs)
            started = time.perf_counter()
            await connection.copy_to_table("t", source=rows, columns=["batch_id", "idx", "payload"], format="binary")
            loaded = time.perf_counter()
            await connection.execute("VACUUM ANALYZE t")
            reading = time.perf_counter()
            for lo in range(0, JOBS, CLAIM):
                await connection.fetchval(READ, batch_id, lo, lo + CLAIM - 1)
            ended = time.perf_counter()
            size = await connection.fetchval("SELECT pg_total_relation_size('t')")
            print(
                f"{kind:5}  load {JOBS / (loaded - started):9,.0f} rows/s  "
                f"read {(ended - reading) / (JOBS / CLAIM) * 1000:.2f} ms per claim of {CLAIM:,}  "
                f"{size / JOBS:.0f} bytes/row"
            )
    await connection.close()


if __name__ == "__main__":
    with postgres_server({"fsync": "on", "shared_buffers": "1GB"}) as server:
        asyncio.run(measure(server.url()))
