"""Cuts a stream of jobs into slices that a backend stores one transaction each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES, in_running_order
from hammerwork.errors import InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

    from hammerwork.batch import Job, JobBatch

MAX_CHUNK_JOBS = 1_000
SLICE_JOBS = 10_000
SLICE_BYTES = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class Slice(msgspec.Struct):
    """Jobs lo, lo + 1, … of a batch: their payloads as JSON text, and the chunks that they form."""

    lo: int
    payloads: list[bytes]
    chunks: list[tuple[int, int, int]]
    """(lo, hi, priority) of each chunk."""

    @property
    def end(self) -> int:
        """Index after the last job."""
        return self.lo + len(self.payloads)


def encode_slice(batch: JobBatch, jobs: Sequence[Job], lo: int) -> Slice:
    """Encode jobs that are in running order; the first one gets the index `lo`.

    Raises:
        InvalidBatchError: A payload is not JSON, or too large; the message names the job.
    """
    payloads = []
    chunks: list[tuple[int, int, int]] = []
    start = 0
    for position, job in enumerate(jobs):
        payloads.append(_encode_payload(batch, job.payload, lo + position))
        if position - start == MAX_CHUNK_JOBS or job.priority != jobs[start].priority:
            chunks.append((lo + start, lo + position - 1, int(jobs[start].priority)))
            start = position
    chunks.append((lo + start, lo + len(jobs) - 1, int(jobs[start].priority)))
    return Slice(lo, payloads, chunks)


def _encode_payload(batch: JobBatch, payload: Any, index: int) -> bytes:
    try:
        text = _encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidBatchError(f"batch {batch.name!r}: jobs[{index}].payload: not JSON: {error}") from error
    if len(text) > MAX_PAYLOAD_BYTES:
        raise InvalidBatchError(
            f"batch {batch.name!r}: jobs[{index}].payload: {len(text):,} bytes, the limit is {MAX_PAYLOAD_BYTES:,}; "
            "store the data elsewhere and pass its address"
        )
    return text


async def slices(batch: JobBatch, jobs: Iterable[Job] | AsyncIterable[Job], *, skip: int) -> AsyncIterator[Slice]:
    """Yield the jobs of a stream in slices of bounded size, without the first `skip` ones.

    A slice is sorted by priority by itself; `skip` must be the end of an earlier slice of the same stream.
    """
    lo = skip
    group: list[Job] = []
    async for position, job in _numbered(jobs):
        if position < skip:
            continue
        batch.check_queue_of(job, position)
        group.append(job)
        if len(group) == SLICE_JOBS:
            yield encode_slice(batch, in_running_order(group), lo)
            lo += len(group)
            group = []
    if group:
        yield encode_slice(batch, in_running_order(group), lo)


async def _numbered(jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncIterator[tuple[int, Job]]:
    position = -1
    if hasattr(jobs, "__aiter__"):
        async for job in jobs:
            position += 1
            yield position, job
    else:
        for position, job in enumerate(jobs):
            if position % 1_000 == 999:
                await asyncio.sleep(0)  # a long stream must not keep the event loop from its other work
            yield position, job
