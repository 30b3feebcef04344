"""Cuts a stream of jobs into slices that a backend stores one transaction each."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
import math
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, Priority
from hammerwork.errors import InvalidBatchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence

    from hammerwork.batch import Job, JobBatch

MAX_CHUNK_JOBS = 1_000
MIN_CHUNK_JOBS = 10
CHUNKS_PER_BATCH = 32
"""A small batch is cut into about as many chunks, so that as many workers can claim and report side by side."""
PAGE_JOBS = 100
PAGE_BYTES = 128 * 1024
PORTION_JOBS = 100
"""Jobs of a stream that are taken and encoded at a time; fewer where payloads are large.

After each portion the event loop turns: the slice before is sent in these turns, so one that came late would idle the
database (every 5 ms: 0.75 of the jobs/s on PostgreSQL, 0.64 on MariaDB).
"""
PORTION_BYTES = 1024 * 1024
"""What a portion comes to, by the payloads of the one before."""
PORTION_SECONDS = 0.005
"""An asynchronous stream gives what it has after this long."""
SLICE_JOBS = 10_000
SLICE_BYTES = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_PRIORITIES = frozenset(int(priority) for priority in Priority)


class Slice(msgspec.Struct):
    """Jobs lo, lo + 1, … of a batch: their payloads as JSON texts, and the chunks and pages that they form."""

    lo: int
    payloads: list[bytes]
    chunks: list[tuple[int, int, int]]
    """(lo, hi, priority) of each chunk."""
    pages: list[tuple[int, int]]
    """(lo, hi) of each page; none is in two chunks."""

    @property
    def end(self) -> int:
        """Index after the last job."""
        return self.lo + len(self.payloads)

    def texts(self) -> Iterator[bytes]:
        """Yield what is stored of each page: its payloads with commas between them."""
        for lo, hi in self.pages:
            yield b",".join(self.payloads[lo - self.lo : hi - self.lo + 1])


def encode_slice(batch: JobBatch, jobs: Sequence[Job], lo: int) -> Slice:
    """Encode the jobs of a slice and number them from `lo` on, those of higher priority first.

    Raises:
        InvalidBatchError: A payload is not JSON, or too large, or a priority is unknown; the message names the job by
            its position in `jobs`, counted from `lo`.
    """
    payloads = [job.payload for job in jobs]
    texts = _encode_payloads(batch, payloads, lo)
    _check(batch, payloads, texts, lo)
    return _arrange(batch, [job.priority for job in jobs], texts, lo, whole=lo == 0)


def _arrange(batch: JobBatch, priorities: Sequence[int], payloads: list[bytes], lo: int, *, whole: bool) -> Slice:
    """Put jobs into running order: by priority, highest first; jobs of one priority keep their order."""
    runs = []
    for priority in sorted(set(priorities), reverse=True):
        if priority not in _PRIORITIES:
            raise InvalidBatchError(
                f"batch {batch.name!r}: jobs[{lo + priorities.index(priority)}].priority: {priority!r} is not one of "
                f"0 to {max(_PRIORITIES)}"
            )
        runs.append((int(priority), priorities.count(priority)))
    if len(runs) > 1:
        order = sorted(range(len(payloads)), key=lambda position: -priorities[position])
        payloads = [payloads[position] for position in order]
    part = Slice(lo, payloads, [], [])
    size = chunk_jobs(batch.batch_size, len(payloads) if whole else None)
    for priority, count in runs:
        for start in range(lo, lo + count, size):
            end = min(start + size, lo + count)
            part.chunks.append((start, end - 1, priority))
            part.pages += _pages(part, start, end, batch.batch_size)
        lo += count
    return part


def chunk_jobs(batch_size: int, jobs: int | None) -> int:
    """Return how many jobs a chunk gets: whole claims of `batch_size`, and fewer in a batch of which `jobs` are all."""
    most = MAX_CHUNK_JOBS // batch_size * batch_size
    if jobs is None:
        return most
    share = max(MIN_CHUNK_JOBS, -(-jobs // CHUNKS_PER_BATCH))
    return min(most, -(-share // batch_size) * batch_size)


def _pages(part: Slice, start: int, end: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Cut a chunk into pages that end where claims end, as far as the sizes allow."""
    jobs = PAGE_JOBS // batch_size * batch_size or -(-batch_size // -(-batch_size // PAGE_JOBS))
    claim_end = start
    while start < end:
        if start == claim_end:
            claim_end = min(end, start + max(batch_size, jobs))
        stop = min(start + jobs, claim_end)
        sizes = list(map(len, part.payloads[start - part.lo : stop - part.lo]))
        if sum(sizes) > PAGE_BYTES:
            stop, size = start + 1, sizes[0]
            while stop < claim_end and stop - start < jobs and size + sizes[stop - start] <= PAGE_BYTES:
                size += sizes[stop - start]
                stop += 1
        yield start, stop - 1
        start = stop


def _check(batch: JobBatch, payloads: Sequence[Any], texts: Sequence[bytes], lo: int) -> None:
    """Raise InvalidBatchError for what JSON would change without a word, or what readers of JSON may refuse.

    What comes back from the text as it was is right; only the rest is looked at in Python.
    """
    for start in range(0, len(texts), PAGE_JOBS):
        some = payloads[start : start + PAGE_JOBS]
        text = b"[%b]" % b",".join(texts[start : start + PAGE_JOBS])
        objects, arrays = text.count(b"{"), text.count(b"[") - 1
        if objects == len(some) and not arrays and _are_plain(some, text):
            continue
        if objects + arrays >= MAX_PAYLOAD_DEPTH or _decode(text) != some:
            for position, payload in enumerate(some, start):
                wrong = _fault(payload, "payload", 1)
                if wrong:
                    raise InvalidBatchError(f"batch {batch.name!r}: jobs[{lo + position}].{wrong}")


def _are_plain(payloads: Sequence[Any], text: bytes) -> bool:
    """Whether flat objects have texts as keys, and no value that was written as null."""
    if b"null" in text:
        return False
    try:
        "".join(itertools.chain.from_iterable(payloads))
    except TypeError:
        return False
    return True


def _fault(value: Any, where: str, depth: int) -> str | None:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where}: {value} is not JSON; pass null or a text instead"
    if isinstance(value, dict) and (twice := _twice(value)):
        return f"{where}: the keys {twice[0]!r} and {twice[1]!r} are the same in JSON, where keys are texts"
    members = _members(value)
    if members is None:
        return None
    if depth > MAX_PAYLOAD_DEPTH:
        return f"payload: nested more than {MAX_PAYLOAD_DEPTH} deep, the limit"
    for name, member in members:
        wrong = _fault(member, where + name, depth + 1)
        if wrong:
            return wrong
    return None


def _twice(value: dict[Any, Any]) -> tuple[Any, Any] | None:
    """Return two keys that the encoder makes the same of."""
    names: dict[str, Any] = {}
    for key in value:
        name = key if type(key) is str else next(iter(_decode(_encode({key: None}))))
        if (other := names.setdefault(name, key)) is not key:
            return other, key
    return None


def _members(value: Any) -> Iterable[tuple[str, Any]] | None:
    """Return what an array or object of JSON is made of, and how to call each; None for what becomes neither."""
    if isinstance(value, dict):
        return ((f"[{key!r}]", member) for key, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{place}]", member) for place, member in enumerate(value))
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif attributes := getattr(type(value), "__attrs_attrs__", None):
        names = [attribute.name for attribute in attributes]
    else:
        return None
    return ((f".{name}", getattr(value, name, None)) for name in names)


def _encode_payloads(batch: JobBatch, payloads: Sequence[Any], lo: int) -> list[bytes]:
    """Return the payloads of jobs lo, lo + 1, … as JSON texts."""
    try:
        texts = [_encode(payload) for payload in payloads]
    except (TypeError, ValueError, RecursionError):
        texts = []
    if len(texts) == len(payloads) and max(map(len, texts), default=0) <= MAX_PAYLOAD_BYTES:
        return texts
    return [_encode_payload(batch, payload, index) for index, payload in enumerate(payloads, lo)]


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
    queue = batch.queue
    priorities: list[int] = []
    texts: list[bytes] = []
    size = 0
    pace = _Pace()

    def part(*, last: bool) -> Slice:
        return _arrange(batch, priorities, texts, lo, whole=last and lo == 0)

    async for first, some in _portions(jobs, skip, pace):
        if [job.queue for job in some].count(queue) < len(some):
            for position, job in enumerate(some, first):
                batch.check_queue_of(job, position)
        new = [job.payload for job in some]
        new_texts = _encode_payloads(batch, new, first)
        _check(batch, new, new_texts, first)
        bytes_more = sum(map(len, new_texts))
        pace.adapt(len(some), bytes_more)
        if len(texts) + len(some) <= SLICE_JOBS and size + bytes_more <= SLICE_BYTES:
            size += bytes_more
            priorities += [job.priority for job in some]
            texts += new_texts
            continue
        for position, (job, text) in enumerate(zip(some, new_texts, strict=True), first):
            size += len(text)
            if len(texts) == SLICE_JOBS or (size > SLICE_BYTES and texts):
                yield part(last=False)
                lo = position
                priorities, texts, size = [], [], len(text)
            priorities.append(job.priority)
            texts.append(text)
    if texts:
        yield part(last=True)


class _Pace:
    """How many jobs are taken at a time."""

    def __init__(self) -> None:
        self.jobs = 1
        self._begun = time.monotonic()

    def adapt(self, jobs: int, size: int) -> None:
        """Take note of what the last portion came to."""
        self.jobs = max(1, min(PORTION_JOBS, PORTION_BYTES * jobs // max(1, size)))

    def begin(self) -> None:
        """Take note that a portion begins."""
        self._begun = time.monotonic()

    def is_up(self, jobs: int) -> bool:
        """Whether so many jobs are a portion by now."""
        return jobs >= self.jobs or time.monotonic() - self._begun > PORTION_SECONDS


async def _portions(
    jobs: Iterable[Job] | AsyncIterable[Job], skip: int, pace: _Pace
) -> AsyncIterator[tuple[int, list[Job]]]:
    """Yield the position of a job, and the jobs from there on, a few at a time; without the first `skip` ones."""
    position = 0
    async for some in _gathered(jobs, pace) if isinstance(jobs, AsyncIterable) else _cut_off(jobs, pace):
        if position + len(some) > skip:
            late = max(0, skip - position)
            yield position + late, some[late:]
        position += len(some)
        await asyncio.sleep(0)
        pace.begin()


async def _gathered(jobs: AsyncIterable[Job], pace: _Pace) -> AsyncIterator[list[Job]]:
    some: list[Job] = []
    async for job in jobs:
        some.append(job)
        if pace.is_up(len(some)):
            yield some
            some = []
    if some:
        yield some


async def _cut_off(jobs: Iterable[Job], pace: _Pace) -> AsyncIterator[list[Job]]:
    stream = iter(jobs)
    while some := list(itertools.islice(stream, pace.jobs)):
        yield some
