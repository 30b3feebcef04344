"""Cuts a stream of jobs into slices that a backend stores one transaction each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES, Priority
from hammerwork.errors import InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence

    from hammerwork.batch import Job, JobBatch

MAX_CHUNK_JOBS = 1_000
SLICE_JOBS = 10_000
SLICE_BYTES = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode
_PRIORITIES = frozenset(int(priority) for priority in Priority)


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
    """Encode jobs and bring them into running order; the first one to run gets the index `lo`.

    Raises:
        InvalidBatchError: A payload is not JSON, or too large, or a priority is unknown; the message names the job by
            its position in `jobs`, counted from `lo`.
    """
    return _arrange(
        batch,
        [job.priority for job in jobs],
        [_encode_payload(batch, job.payload, position) for position, job in enumerate(jobs, lo)],
        lo,
    )


def _arrange(batch: JobBatch, priorities: Sequence[int], payloads: Sequence[bytes], lo: int) -> Slice:
    """Put jobs into running order: by priority, highest first; jobs of one priority keep their order."""
    order = sorted(range(len(payloads)), key=lambda position: -priorities[position])
    chunks: list[tuple[int, int, int]] = []
    start = 0
    for place, position in enumerate(order):
        if place - start == MAX_CHUNK_JOBS or priorities[position] != priorities[order[start]]:
            chunks.append((lo + start, lo + place - 1, _checked_priority(batch, priorities, order[start], lo)))
            start = place
    chunks.append((lo + start, lo + len(order) - 1, _checked_priority(batch, priorities, order[start], lo)))
    return Slice(lo, [payloads[position] for position in order], chunks)


def _checked_priority(batch: JobBatch, priorities: Sequence[int], position: int, lo: int) -> int:
    priority = priorities[position]
    if priority not in _PRIORITIES:
        raise InvalidBatchError(
            f"batch {batch.name!r}: jobs[{lo + position}].priority: {priority!r} is not one of 0 to {max(_PRIORITIES)}"
        )
    return int(priority)


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


async def slices(
    batch: JobBatch, jobs: Iterable[Job] | AsyncIterable[Job], *, skip: int
) -> AsyncGenerator[Slice, None]:
    """Yield the jobs of a stream in slices of bounded size, without the first `skip` ones. To be closed by the caller.

    A slice is sorted by priority by itself; `skip` must be the end of an earlier slice of the same stream. The next
    slice is made while the database is busy with the one before.
    """
    cut = _cut(batch, jobs, skip)
    coming = asyncio.ensure_future(anext(cut, None))
    try:
        while (part := await coming) is not None:
            coming = asyncio.ensure_future(anext(cut, None))
            yield part
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await cut.aclose()


async def _cut(batch: JobBatch, jobs: Iterable[Job] | AsyncIterable[Job], skip: int) -> AsyncGenerator[Slice, None]:
    lo = skip
    priorities: list[int] = []
    payloads: list[bytes] = []
    size = 0
    async for position, job in _numbered(jobs):
        if position < skip:
            continue
        batch.check_queue_of(job, position)
        payload = _encode_payload(batch, job.payload, position)
        size += len(payload)
        if len(payloads) == SLICE_JOBS or (size > SLICE_BYTES and payloads):
            yield _arrange(batch, priorities, payloads, lo)
            lo = position
            priorities, payloads, size = [], [], len(payload)
        priorities.append(job.priority)
        payloads.append(payload)
    if payloads:
        yield _arrange(batch, priorities, payloads, lo)


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
