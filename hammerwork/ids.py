"""Ids of batches: fresh ones that sort by time, and ones that follow from what they are for."""

from __future__ import annotations

import hashlib
import os
import time
from uuid import UUID


def new_batch_id() -> UUID:
    """Return a fresh id that sorts by time (UUID version 7, RFC 9562), which keeps the end of the jobs' index hot."""
    return _uuid(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10), version=7)


def batch_id_for(*parts: str) -> UUID:
    """Return the id that belongs to these strings: the same strings give the same id on every machine."""
    return _uuid(hashlib.sha256("\0".join(parts).encode()).digest()[:16], version=8)


def part_id(whole: UUID, jobs_per_part: int, number: int) -> UUID:
    """Return the id of a part of a batch: the same each time, and beside the id of the whole in the order of time."""
    digest = hashlib.sha256(whole.bytes + f"/{jobs_per_part}/{number}".encode()).digest()
    return _uuid(whole.bytes[:6] + digest[:10], version=whole.version or 8)


def _uuid(octets: bytes, *, version: int) -> UUID:
    marked = bytearray(octets)
    marked[6] = marked[6] & 0x0F | version << 4
    marked[8] = marked[8] & 0x3F | 0x80
    return UUID(bytes=bytes(marked))
