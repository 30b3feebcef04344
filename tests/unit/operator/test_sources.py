from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import Job, JobBatch, PartialFailureMode, Priority
from hammerwork.backends.slices import SLICE_BYTES, SLICE_JOBS
from hammerwork_operator import sources
from hammerwork_operator.api.jobbatch import JobBatchSpec
from hammerwork_operator.api.sources import MAX_GENERATED_JOBS, GenerateSpec, JobSpec
from hammerwork_operator.sources import generate, inline
from hammerwork_operator.sources.settings import empty_batch
from hammerwork_operator.sources.source import InvalidSourceError, Query
from hammerwork_operator.sources.template import compile_template

_TEXT = st.text(st.characters(exclude_characters="{}\0"))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("template", "at_7"),
    [
        ("{{ index }}", 7),
        ("{{index}}", 7),
        ("file_{{ index }}", "file_7"),
        ("{{ index }}-{{ index }}", "7-7"),
        ({"id": "{{ index }}", "keep": 1}, {"id": 7, "keep": 1}),
        (["a", ["{{ index }}"], {"b": "x{{ index }}"}], ["a", [7], {"b": "x7"}]),
        ("{ index } }}", "{ index } }}"),
        ("{{ {{ }} index }}-{{{{}}", "{{ index }}-{{"),
        ({"a": "{{ {{ }}", "b": "{{ {{ }}{{ index }}"}, {"a": "{{", "b": "{{7"}),
        (None, None),
    ],
)
def test_the_index_is_put_into_strings(template: Any, at_7: Any) -> None:
    assert compile_template(template, "payload", {}).render(7, {}) == at_7


@given(_JSON)
def test_a_template_without_placeholders_is_the_payload(template: Any) -> None:
    assert compile_template(template, "payload", {}).render(3, {}) == template


@given(_TEXT, _TEXT, st.integers(0, MAX_GENERATED_JOBS))
def test_text_around_the_placeholder_is_kept(before: str, after: str, index: int) -> None:
    rendered = compile_template({"k": f"{before}{{{{ index }}}}{after}"}, "payload", {}).render(index, {})
    assert rendered == {"k": f"{before}{index}{after}" if before or after else index}


def test_payloads_do_not_share_what_moves() -> None:
    render = compile_template({"a": {"id": "{{ index }}"}}, "payload", {}).render
    first, second = render(0, {}), render(1, {})
    assert (first, second) == ({"a": {"id": 0}}, {"a": {"id": 1}})


def test_an_unknown_placeholder_is_named_with_its_place() -> None:
    template = GenerateSpec(count=1, payload={"files": ["a", "b{{ indx }}"]})
    with pytest.raises(InvalidSourceError) as caught:
        generate.jobs(JobBatchSpec(queue="q"), template)
    assert str(caught.value) == (
        "spec.generate.payload.files[1]: unknown placeholder '{{ indx }}'; the only one is '{{ index }}'"
    )


def test_a_hundred_million_jobs_cost_nothing_before_they_are_taken() -> None:
    spec = JobBatchSpec(queue="q", priority="High")
    jobs = generate.jobs(spec, GenerateSpec(count=MAX_GENERATED_JOBS, payload={"n": "{{ index }}"}))
    first = list(itertools.islice(jobs, 3))
    assert [job.payload for job in first] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert {(job.queue, job.priority) for job in first} == {("q", Priority.HIGH)}


def test_generated_jobs_are_as_many_as_asked_for() -> None:
    assert sum(1 for _ in generate.jobs(JobBatchSpec(queue="q"), GenerateSpec(count=1234, payload=0))) == 1234


def test_inline_jobs_take_the_priority_of_the_batch_unless_they_have_their_own() -> None:
    spec = JobBatchSpec(queue="q", priority="Low")
    jobs = inline.jobs(spec, [JobSpec(payload=None), JobSpec(payload=2, priority="Critical", queue="q")])
    assert [(job.payload, job.priority) for job in jobs] == [(None, Priority.LOW), (2, Priority.CRITICAL)]


def test_an_inline_job_of_another_queue_is_refused() -> None:
    with pytest.raises(InvalidSourceError, match=r"spec\.jobs\[1\]\.queue: 'r', but spec\.queue is 'q'"):
        inline.jobs(JobBatchSpec(queue="q"), [JobSpec(payload=1), JobSpec(payload=1, queue="r")])


def test_every_setting_reaches_the_batch() -> None:
    raw = {
        "queue": "q",
        "batchSize": 7,
        "partialFailureMode": "CollectErrors",
        "backoffLimit": 0,
        "retryPolicy": {"strategy": "Linear", "initialSeconds": 2, "maxSeconds": 9},
        "jobTimeoutSeconds": 60,
        "metadata": {"campaign": "summer"},
        "suspend": True,
    }
    batch = empty_batch("mail", "welcome", msgspec.convert(raw, JobBatchSpec))
    assert (batch.name, batch.queue, batch.batch_size) == ("mail/welcome", "q", 7)
    assert (batch.failure_mode, batch.max_attempts) == (PartialFailureMode.COLLECT_ERRORS, 1)
    assert batch.retry_policy.delay(3) == pytest.approx(6.0, rel=0.11)
    assert batch.timeout_seconds == 60.0
    assert (batch.metadata, batch.suspended) == ({"campaign": "summer"}, True)


def test_a_batch_that_sets_nothing_has_the_librarys_defaults() -> None:
    batch = empty_batch("n", "b", msgspec.convert({"queue": "q", "retryPolicy": {}}, JobBatchSpec))
    plain = JobBatch("n/b", queue="q")
    assert batch.retry_policy == plain.retry_policy
    assert (batch.batch_size, batch.failure_mode) == (plain.batch_size, plain.failure_mode)


@pytest.mark.parametrize(("mode", "attempts"), [("ContinueOnError", 4), ("FailFast", 1)])
def test_the_default_number_of_attempts_depends_on_the_mode(mode: str, attempts: int) -> None:
    spec = msgspec.convert({"queue": "q", "partialFailureMode": mode}, JobBatchSpec)
    assert empty_batch("n", "b", spec).max_attempts == attempts


JOBS, GENERATE = {"jobs": [{"payload": 1}]}, {"generate": {"count": 3, "payload": 1}}


@pytest.mark.parametrize(("given", "payloads"), [(JOBS, [1]), (GENERATE, [1, 1, 1])], ids=["jobs", "generate"])
def test_the_source_that_is_given_makes_the_jobs(given: dict[str, Any], payloads: list[int]) -> None:
    spec = msgspec.convert({"queue": "q", **given}, JobBatchSpec)
    made = sources.jobs(spec)
    assert not isinstance(made, AsyncIterator)
    assert [job.payload for job in made] == payloads
    assert sources.source_of(spec).FIELD in given


@pytest.mark.parametrize(
    ("given", "seen"), [({}, "none"), ({**JOBS, **GENERATE}, "spec.jobs and spec.generate")], ids=["none", "both"]
)
def test_exactly_one_source_has_to_be_given(given: dict[str, Any], seen: str) -> None:
    with pytest.raises(InvalidSourceError) as caught:
        sources.jobs(msgspec.convert({"queue": "q", **given}, JobBatchSpec))
    assert (
        str(caught.value)
        == f"spec: {seen} given, must be exactly one of spec.jobs, spec.generate, spec.configMapRefs and spec.query"
    )


@pytest.mark.parametrize(
    ("raw", "jobs"),
    [
        (JOBS, 1),
        (GENERATE, 3),
        ({"jobs": None, **GENERATE}, 3),
        ({}, 0),
        ({"jobs": "many"}, 0),
        ({"generate": []}, 0),
        ({"generate": {"count": "3"}}, 0),
    ],
    ids=str,
)
def test_jobs_are_counted_without_a_check(raw: dict[str, Any], jobs: int) -> None:
    assert sources.count(raw) == jobs


@pytest.mark.parametrize(
    ("raw", "small"),
    [
        (JOBS, True),
        ({"jobs": [{"payload": None}] * (SLICE_JOBS + 1)}, True),
        ({"jobs": None, "generate": {"count": SLICE_JOBS, "payload": "{{ index }}"}}, True),
        ({"generate": {"count": SLICE_JOBS + 1}}, False),
        ({"generate": {"count": 10**30}}, False),
        ({"generate": {"count": 8, "payload": "x" * (SLICE_BYTES // 8)}}, False),
        ({"generate": {"count": 8, "payload": "x" * (SLICE_BYTES // 9)}}, True),
        ({"generate": {"items": ["x" * 100] * 10_000, "payload": "{{ item }}"}}, True),
        ({"generate": {"items": ["x" * 200] * 150, "payload": "{{ item }}" * 1_000}}, False),
        ({"generate": {"items": [{"a": '"' * 60_000}] * 20, "payload": "{{item}}{{item}}"}}, False),
        ({"generate": {"matrix": {"a": ["x" * 3_500], "b": [1, 2] * 10}, "payload": "{{matrix.a}}"}}, True),
        ({"generate": {"matrix": {"a": ["x" * 3_500], "b": [1, 2] * 10}, "payload": "{{matrix.a}}" * 290}}, False),
        ({"configMapRefs": [{"name": "a", "key": "b"}]}, False),
        ({"query": {"sql": "SELECT 1"}}, False),
        ({}, False),
        ({"generate": 3}, False),
        ({"generate": {"count": 3, "items": 1, "payload": {}}}, True),
    ],
    ids=lambda given: str(given)[:40],
)
def test_small_are_those_that_fill_no_slice_whatever_their_placeholders_become(
    raw: dict[str, Any], small: bool
) -> None:
    assert sources.is_small(raw) is small


def test_each_source_is_a_field_of_the_spec_with_its_own_rules() -> None:
    assert set(sources.FIELDS) < {field.encode_name for field in msgspec.structs.fields(JobBatchSpec)}
    assert all(rule["fieldPath"] == f".{source.FIELD}" for source in sources.SOURCES for rule in source.RULES)
    assert sources.rules()[0]["rule"] == " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in sources.FIELDS) + " == 1"


async def test_the_jobs_of_configmaps_come_shard_by_shard() -> None:
    refs = [{"name": "a", "key": "a.csv"}, {"name": "b", "key": "b.ndjson"}]
    raw = {"queue": "q", "priority": "Low", "configMapRefs": refs}
    spec = msgspec.convert(raw, JobBatchSpec)
    assert (sources.count(raw), sources.need(spec)) == (None, sources.raw_need(raw))

    async def fetched() -> AsyncIterator[bytes]:
        yield b"x\n1\n2\n"
        yield b"1\n"
        raise AssertionError("asked for more than there is")

    jobs = sources.jobs(spec, fetched())
    assert isinstance(jobs, AsyncIterator)
    made = [await anext(jobs) for _ in range(3)]
    assert [(job.payload, job.priority) for job in made] == [
        ({"x": "1"}, Priority.LOW),
        ({"x": "2"}, Priority.LOW),
        (1, Priority.LOW),
    ]

    async def bad() -> AsyncIterator[bytes]:
        yield b"x\n1\n"
        yield b"1\nx\n"

    with pytest.raises(InvalidSourceError) as caught:
        [job async for job in cast("AsyncIterator[Job]", sources.jobs(spec, bad()))]
    assert str(caught.value) == (
        "spec.configMapRefs[1] (ConfigMap b, key b.ndjson): line 2: not JSON: invalid character (byte 0)"
    )


async def test_each_row_of_a_query_is_a_job() -> None:
    raw = {"queue": "q", "query": {"sql": "SELECT 1"}}
    spec = msgspec.convert(raw, JobBatchSpec)
    assert (sources.count(raw), sources.need(spec)) == (None, Query("SELECT 1", 600))

    async def rows(count: int) -> AsyncIterator[dict[str, int]]:
        for n in range(count):
            yield {"n": n}

    async def made(count: int) -> list[Any]:
        jobs = cast("AsyncIterator[Job]", sources.jobs(spec, rows(count)))
        return [job.payload async for job in jobs]

    assert await made(2) == [{"n": 0}, {"n": 1}]
    with pytest.raises(InvalidSourceError, match=r"spec\.query: it returned no row; a batch needs at least one job"):
        await made(0)
