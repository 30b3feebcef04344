"""spec.generate: templates, items and matrices."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork_operator import sources
from hammerwork_operator.api.jobbatch import JobBatchSpec
from hammerwork_operator.api.sources import MAX_GENERATED_JOBS
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork import Job

DAYS = {"from": "2026-02-27", "to": "2026-03-01"}


def jobs_of(raw: dict[str, Any]) -> Iterable[Job]:
    made = sources.jobs(msgspec.convert(raw, JobBatchSpec))
    assert not isinstance(made, AsyncIterator)
    return made


def payloads(**generate: Any) -> list[Any]:
    raw = {"queue": "q", "generate": generate}
    made = [job.payload for job in jobs_of(raw)]
    assert sources.count(raw) == len(made)
    return made


def refused(**generate: Any) -> str:
    raw = {"queue": "q", "generate": {"payload": 1, **generate}}
    with pytest.raises(InvalidSourceError) as caught:
        sources.jobs(msgspec.convert(raw, JobBatchSpec))
    return str(caught.value)


def test_items_fill_the_template_with_their_types() -> None:
    items = [{"country": "de", "urls": ["a", "b"], "n": None}, {"country": "fr", "urls": ["c", {}], "n": [1]}]
    template = {
        "index": "{{ index }}",
        "text": "{{ index }}-{{ item.country }}/{{ item.urls.1 }}/{{ item.n }}",
        "parts": ["{{ item.urls.0 }}", "{{item.n}}"],
        "whole": "{{ item }}",
    }
    assert payloads(items=items, payload=template) == [
        {"index": 0, "text": "0-de/b/null", "parts": ["a", None], "whole": items[0]},
        {"index": 1, "text": "1-fr/{}/[1]", "parts": ["c", [1]], "whole": items[1]},
    ]
    assert payloads(items=[1, "x", None], payload="{{ item }}") == [1, "x", None]


def test_what_an_item_says_is_not_taken_for_a_placeholder() -> None:
    assert payloads(items=["{{ index }}", "}} {{"], payload="a{{ item }}") == ["a{{ index }}", "a}} {{"]


def test_a_matrix_has_every_combination_in_the_order_of_the_names() -> None:
    matrix = {"day": DAYS, "country": ["de", "fr"], "part": {"from": -1, "to": 0}}
    found = payloads(
        matrix=matrix, payload=["{{ index }}", "{{ matrix.country }} {{ matrix.day }}", "{{ matrix.part }}"]
    )
    expected = itertools.product(["de", "fr"], ["2026-02-27", "2026-02-28", "2026-03-01"], [-1, 0])
    assert found == [[index, f"{country} {day}", part] for index, (country, day, part) in enumerate(expected)]


_VALUES = st.lists(st.integers() | st.text(max_size=3) | st.none(), min_size=1, max_size=4)


@given(st.dictionaries(st.sampled_from(["a", "b_1", "C-c", "_"]), _VALUES, min_size=1))
def test_a_matrix_is_the_product_of_its_lists(matrix: dict[str, list[Any]]) -> None:
    names = sorted(matrix)
    found = payloads(matrix=matrix, payload=[f"{{{{ matrix.{name} }}}}" for name in names])
    assert found == [list(values) for values in itertools.product(*(matrix[name] for name in names))]
    assert len(found) == math.prod(map(len, matrix.values()))


def test_a_matrix_of_a_hundred_million_is_not_built() -> None:
    spec: dict[str, Any] = {
        "queue": "q",
        "generate": {
            "matrix": {"a": {"from": 1, "to": 10_000}, "b": {"from": "2000-01-01", "to": "2027-05-18"}},
            "payload": "{{ matrix.a }} {{ matrix.b }}",
        },
    }
    assert sources.count(spec) == MAX_GENERATED_JOBS
    tracemalloc.start()
    try:
        first = list(itertools.islice(jobs_of(spec), 3))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [job.payload for job in first] == ["1 2000-01-01", "1 2000-01-02", "1 2000-01-03"]
    assert peak < 1_000_000


UNKNOWN = "spec.generate.payload: unknown placeholder"
NAME = "1 to 63 letters, digits, '_' or '-', with a letter or '_' first"
NOT_CLOSED = "is not closed; a literal '{{' is written '{{ {{ }}'"
KINDS = "two days, such as 2026-01-31, or two whole numbers"


@pytest.mark.parametrize(
    ("generate", "told"),
    [
        ({}, "spec.generate: none given, must be exactly one of count, items and matrix"),
        (
            {"count": 1, "items": [1]},
            "spec.generate: count and items given, must be exactly one of count, items and matrix",
        ),
        (
            {"count": 1, "payload": {"a": [0, 1, "b{{ item.x }}"]}},
            "spec.generate.payload.a[2]: unknown placeholder '{{ item.x }}'; the only one is '{{ index }}'",
        ),
        (
            {"items": [1], "payload": "{{ matrix.x }}"},
            f"{UNKNOWN} '{{{{ matrix.x }}}}'; there are '{{{{ index }}}}', '{{{{ item.PATH }}}}' and '{{{{ item }}}}'",
        ),
        (
            {"matrix": {"a": [1]}, "payload": "{{ matrix.c }}"},
            f"{UNKNOWN} '{{{{ matrix.c }}}}'; there are '{{{{ index }}}}' and '{{{{ matrix.a }}}}'",
        ),
        (
            {"items": [{"a": 1}, {"a": {"b": 2}}], "payload": {"x": [[], "{{ item.a.b }}"]}},
            "spec.generate.payload.x[1]: '{{ item.a.b }}': spec.generate.items[0] has no 'a.b'",
        ),
        (
            {"count": 1, "payload": {"a": {"f-{{ index }}": 1}}},
            "spec.generate.payload.a: the key 'f-{{ index }}' has a placeholder; they are for values only",
        ),
        (
            {"count": 1, "payload": ["{{ index }"]},
            f"spec.generate.payload[0]: the placeholder '{{{{ index }}' {NOT_CLOSED}",
        ),
        (
            {"matrix": {"a": {"from": 1, "to": 20_000}, "b": {"from": 1, "to": 5_001}}},
            "spec.generate.matrix: 20,000 × 5,001 = 100,020,000 combinations, the limit is 100,000,000",
        ),
        (
            {"matrix": {"a": {"from": 0, "to": 10**30}}},
            f"spec.generate.matrix.a: {10**30 + 1:,} values, the limit is 100,000,000",
        ),
        ({"matrix": {"a": []}}, "spec.generate.matrix.a: 0 values, must be 1 to 10,000"),
        ({"matrix": {"a": {"from": 2, "to": 1}}}, "spec.generate.matrix.a: from 2 is after to 1, so it has no value"),
        (
            {"matrix": {"a": {"from": 1}}},
            f'spec.generate.matrix.a: {{"from": 1}}, must be a list of values, or {{from, to}} with {KINDS}',
        ),
        (
            {"matrix": {"a": None}},
            f"spec.generate.matrix.a: null, must be a list of values, or {{from, to}} with {KINDS}",
        ),
        (
            {"matrix": {"a": {"from": "2026-02-29", "to": "2026-03-01"}}},
            "spec.generate.matrix.a: '2026-02-29' is no day, such as 2026-01-31",
        ),
        (
            {"matrix": {"a": {"from": 1, "to": "2026-03-01"}}},
            "spec.generate.matrix.a: 1 is no day, such as 2026-01-31",
        ),
        (
            {"matrix": {"a.b": [1]}},
            f"spec.generate.matrix: the name 'a.b' must be {NAME}",
        ),
    ],
)
def test_what_cannot_be_generated_is_told_with_its_place(generate: dict[str, Any], told: str) -> None:
    assert refused(**generate) == told


def nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def test_a_template_is_as_deep_as_a_payload_may_be() -> None:
    assert payloads(count=2, payload=nested("{{ index }}", 500))[1] == nested(1, 500)
    assert refused(count=1, payload=nested(1, 501)) == "spec.generate.payload: nested more than 500 deep, the limit"


@pytest.mark.parametrize(
    "generate",
    [{"items": "many"}, {"matrix": []}, {"matrix": {"a": "x"}}, {"matrix": {"a": [], "b": [1]}}, {"count": None}],
    ids=str,
)
def test_what_is_refused_counts_as_none(generate: dict[str, Any]) -> None:
    assert sources.count({"generate": generate}) == 0
