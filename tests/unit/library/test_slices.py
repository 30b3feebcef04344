"""How a stream of jobs is cut into slices and chunks."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import InvalidBatchError, Job, JobBatch, Priority
from hammerwork.backends.slices import (
    MAX_CHUNK_JOBS,
    PAGE_JOBS,
    PORTION_JOBS,
    SLICE_BYTES,
    SLICE_JOBS,
    Slice,
    chunk_jobs,
    encode_slice,
    slices,
)
from hammerwork.batch import MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

BATCH = JobBatch("mail", queue="q")


class Color(enum.Enum):
    RED = "red"


class Level(enum.Enum):
    MOST = float("inf")


@dataclasses.dataclass
class Point:
    x: Any


class Reading(msgspec.Struct):
    value: float


async def cut(jobs: Iterable[Job] | AsyncIterator[Job], skip: int = 0) -> list[Slice]:
    return [part async for part in slices(BATCH, jobs, skip=skip)]


async def aiter_of(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


def payloads(parts: list[Slice]) -> list[Any]:
    return [msgspec.json.decode(payload) for part in parts for payload in part.payloads]


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 1_500)), min_size=1, max_size=6), st.integers(0, 9))
def test_chunks_cover_a_slice_and_never_mix_priorities(runs: list[tuple[Priority, int]], lo: int) -> None:
    jobs = sorted(
        (Job("q", None, priority) for priority, count in runs for _ in range(count)), key=lambda j: -j.priority
    )
    part = encode_slice(BATCH, jobs, lo)
    assert part.end == lo + len(jobs)
    expected = lo
    for first, last, priority in part.chunks:
        assert first == expected
        assert first <= last < first + MAX_CHUNK_JOBS
        assert {job.priority for job in jobs[first - lo : last - lo + 1]} == {priority}
        expected = last + 1
    assert expected == part.end
    assert [priority for _, _, priority in part.chunks] == sorted((p for _, _, p in part.chunks), reverse=True)


@given(st.lists(st.sampled_from(Priority), min_size=1, max_size=60))
def test_running_order_is_by_priority_and_keeps_the_order_within_one(priorities: list[Priority]) -> None:
    part = encode_slice(BATCH, [Job("q", n, priority) for n, priority in enumerate(priorities)], 0)
    order = payloads([part])
    assert sorted(order) == list(range(len(priorities)))
    keys = [(-priorities[n], n) for n in order]
    assert keys == sorted(keys)


async def test_a_long_stream_is_cut_by_the_number_of_jobs() -> None:
    parts = await cut(Job("q", n) for n in range(2 * SLICE_JOBS + 5))
    assert [(part.lo, part.end) for part in parts] == [(0, SLICE_JOBS), (SLICE_JOBS, 2 * SLICE_JOBS), (20_000, 20_005)]
    assert payloads(parts) == list(range(20_005))


async def test_large_payloads_are_cut_by_their_bytes() -> None:
    payload = "x" * (1024 * 1024 - 2)
    parts = await cut(Job("q", payload) for _ in range(20))
    assert all(sum(map(len, part.payloads)) <= SLICE_BYTES for part in parts)
    assert [part.lo for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert len(payloads(parts)) == 20


async def test_a_stream_is_not_read_ahead_of_its_slice() -> None:
    taken = 0

    def stream() -> Iterator[Job]:
        nonlocal taken
        for n in range(5 * SLICE_JOBS):
            taken += 1
            yield Job("q", n)

    generator = slices(BATCH, stream(), skip=0)
    await anext(generator)
    assert taken <= SLICE_JOBS + PORTION_JOBS


async def test_large_payloads_are_taken_a_few_at_a_time() -> None:
    taken = 0

    def stream() -> Iterator[Job]:
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield Job("q", "x" * (1024 * 1024 - 2))

    generator = slices(BATCH, stream(), skip=0)
    first = await anext(generator)
    await generator.aclose()
    assert len(first.payloads) == 8
    assert taken <= 10


@pytest.mark.parametrize("kind", [list, aiter_of], ids=["iterable", "async iterable"])
async def test_a_stream_that_never_waits_lets_the_loop_turn_after_each_portion(
    kind: Callable[[Iterable[Job]], Any],
) -> None:
    """What was cut before is on its way to the database in these turns."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await cut(kind(Job("q", n) for n in range(SLICE_JOBS)))
    beside.cancel()
    assert turns > SLICE_JOBS // PORTION_JOBS


@pytest.mark.parametrize("skipped", [1, 2])
async def test_skipping_goes_on_where_an_earlier_slice_ended(skipped: int) -> None:
    jobs = [Job("q", n, Priority(n % 5)) for n in range(2 * SLICE_JOBS + 7)]
    whole = await cut(jobs)
    assert await cut(jobs, skip=whole[skipped - 1].end) == whole[skipped:]


async def test_a_slice_runs_by_priority_and_keeps_the_order_within_one() -> None:
    (part,) = await cut([Job("q", n, Priority(n % 5)) for n in range(20)])
    assert payloads([part]) == [4, 9, 14, 19, 3, 8, 13, 18, 2, 7, 12, 17, 1, 6, 11, 16, 0, 5, 10, 15]


async def test_async_streams_are_cut_alike() -> None:
    async def stream() -> AsyncIterator[Job]:
        for n in range(25):
            yield Job("q", n)

    assert await cut(stream()) == await cut(Job("q", n) for n in range(25))


async def test_an_empty_stream_has_no_slices() -> None:
    assert await cut([]) == []


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (object(), "not JSON: Encoding objects of type object is unsupported"),
        ({(1, 2): 3}, "not JSON: Only dicts with str-like or number-like keys are supported"),
        ("a\ud800", "not JSON: .*surrogates not allowed"),
        ("x" * 1024 * 1024, "1,048,578 bytes, the limit is 1,048,576; store the data elsewhere and pass its address"),
    ],
)
async def test_a_bad_payload_is_told_by_its_position_in_the_stream(payload: Any, message: str) -> None:
    jobs = [Job("q", n) for n in range(3)] + [Job("q", payload, Priority.CRITICAL)]
    with pytest.raises(InvalidBatchError, match=rf"batch 'mail': jobs\[3\]\.payload: {message}"):
        await cut(jobs)


async def test_a_payload_nested_without_end_is_told() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidBatchError, match=r"jobs\[0\]\.payload: not JSON"):
        await cut([Job("q", endless)])


async def test_an_unknown_priority_is_told() -> None:
    jobs = [Job("q", 0), Job("q", 1, 9)]  # type: ignore[arg-type]
    with pytest.raises(InvalidBatchError, match=r"batch 'mail': jobs\[1\]\.priority: 9 is not one of 0 to 4"):
        await cut(jobs)


async def test_a_job_of_another_queue_is_told() -> None:
    with pytest.raises(InvalidBatchError, match=r"jobs\[1\]\.queue: 'other', but the batch's queue is 'q'"):
        await cut([Job("q", 0), Job("other", 1)])


def test_the_payload_limit_itself_passes() -> None:
    text = "x" * (1024 * 1024 - 2)
    assert len(encode_slice(BATCH, [Job("q", text)], 0).payloads[0]) == MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (float("nan"), r"payload: nan is not JSON; pass null or a text instead"),
        ({"a": [1, {"b": float("-inf")}]}, r"payload\['a'\]\[1\]\['b'\]: -inf is not JSON"),
        ({"x": {1: "a", "1": "b"}}, r"payload\['x'\]: the keys 1 and '1' are the same in JSON, where keys are texts"),
        ({Color.RED: 1, "red": 2}, r"payload: the keys <Color.RED: 'red'> and 'red' are the same in JSON"),
        ({1e22: 1, "1e22": 2}, r"payload: the keys 1e\+22 and '1e22' are the same in JSON"),
        (Point(float("nan")), r"payload\.x: nan is not JSON"),
        ([Reading(float("inf"))], r"payload\[0\]\.value: inf is not JSON"),
        (Point({1: "a", "1": "b"}), r"payload\.x: the keys 1 and '1' are the same in JSON"),
        ({"a": Level.MOST}, r"payload\['a'\]: inf is not JSON"),
        ({"a": float("nan")}, r"payload\['a'\]: nan is not JSON"),
        ({1: "a", "1": "b"}, r"payload: the keys 1 and '1' are the same in JSON"),
    ],
)
@pytest.mark.parametrize("other", [7, {"a": "b", "c": 1}], ids=["values", "objects"])
async def test_what_json_would_change_without_a_word_is_told(payload: Any, message: str, other: Any) -> None:
    jobs = [Job("q", other) for _ in range(150)] + [Job("q", payload)]
    with pytest.raises(InvalidBatchError, match=rf"batch 'mail': jobs\[150\]\.{message}"):
        await cut(jobs)


@pytest.mark.parametrize(
    "payload",
    [
        {1: "a", 2: "b"},
        (1, 2),
        None,
        {"a": None},
        uuid.uuid4(),
        {"at": 1.5e300},
        Point({Color.RED: Color.RED, 1.0: Reading(0)}),
        msgspec.Raw(b'{"a": 1 }'),
    ],
)
async def test_what_json_only_writes_otherwise_passes(payload: Any) -> None:
    assert len(payloads(await cut([Job("q", payload)]))) == 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def test_objects_count_as_depth_too() -> None:
    value = Point(None)
    for _ in range(MAX_PAYLOAD_DEPTH):
        value = Point(value)
    with pytest.raises(InvalidBatchError, match=r"jobs\[0\]\.payload: nested more than 500 deep, the limit"):
        await cut([Job("q", value)])


@pytest.mark.parametrize("depth", [MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_DEPTH + 1])
async def test_payloads_are_nested_up_to_the_limit(depth: int) -> None:
    if depth <= MAX_PAYLOAD_DEPTH:
        assert len(await cut([Job("q", nested(depth))])) == 1
    else:
        with pytest.raises(InvalidBatchError, match=r"jobs\[0\]\.payload: nested more than 500 deep, the limit"):
            await cut([Job("q", nested(depth))])


@given(
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 1_500)), min_size=1, max_size=4),
    st.booleans(),
)
def test_pages_lie_in_chunks_and_chunks_are_whole_claims(
    batch_size: int, runs: list[tuple[int, int]], whole: bool
) -> None:
    batch = JobBatch("mail", queue="q").with_batch_size(batch_size)
    jobs = [Job("q", None, Priority(priority)) for priority, count in runs for _ in range(count)]
    lo = 0 if whole else 7
    part = encode_slice(batch, jobs, lo)
    assert [index for first, last in part.pages for index in range(first, last + 1)] == list(range(lo, part.end))
    assert all(last - first < PAGE_JOBS for first, last in part.pages)
    for first, last, _ in part.chunks:
        inside = [page for page in part.pages if first <= page[0] <= last]
        assert inside[-1][1] == last
        # Claims begin every `batch_size` jobs; where a claim is longer than a page, pages begin there too.
        if batch_size >= PAGE_JOBS:
            assert set(range(first, last + 1, batch_size)) <= {page[0] for page in inside}
    ends = [last - first + 1 for first, last, _ in part.chunks]
    assert max(ends) <= MAX_CHUNK_JOBS
    longest = chunk_jobs(batch_size, len(jobs) if whole else None)
    assert longest % batch_size == 0
    assert max(ends) <= longest


@pytest.mark.parametrize(
    ("batch_size", "jobs", "chunk"),
    [(1, 1_000, 32), (1, 10, 10), (1, 100_000, 1_000), (100, 1_000, 100), (1_000, 5, 1_000), (300, None, 900)],
)
def test_small_batches_have_chunks_for_many_workers(batch_size: int, jobs: int | None, chunk: int) -> None:
    assert chunk_jobs(batch_size, jobs) == chunk


def test_large_payloads_have_pages_of_their_own() -> None:
    part = encode_slice(BATCH, [Job("q", "x" * size) for size in (100_000, 100_000, 5, 5)], 0)
    assert part.pages == [(0, 0), (1, 3)]
    assert [msgspec.json.decode(b"[%b]" % text) for text in part.texts()] == [
        ["x" * 100_000],
        ["x" * 100_000, "x" * 5, "x" * 5],
    ]
