"""How a stream of jobs is cut into slices and chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import InvalidBatchError, Job, JobBatch, Priority
from hammerwork.backends.slices import MAX_CHUNK_JOBS, SLICE_BYTES, SLICE_JOBS, Slice, encode_slice, slices
from hammerwork.batch import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

BATCH = JobBatch("mail", queue="q")


async def cut(jobs: Iterable[Job] | AsyncIterator[Job], skip: int = 0) -> list[Slice]:
    return [part async for part in slices(BATCH, jobs, skip=skip)]


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
    assert taken <= SLICE_JOBS + 1


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
