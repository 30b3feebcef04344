from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork_operator.kube import decoding
from hammerwork_operator.kube.decoding import MAX_LEVELS, decode, is_deeper_than, shallow


def nested(levels: int, inside: str = "1") -> str:
    return '{"a":[' * (levels // 2) + inside + "]}" * (levels // 2)


@pytest.mark.parametrize("levels", [900, 1_200, 9_998, 1_000_000])
def test_what_python_cannot_hold_is_cut_and_what_stands_around_it_is_read(levels: int) -> None:
    around = {"before": '[{"', "deep": 0, "after": [1, {"x": "]}\\"}]}
    found = decode(json.dumps(around).replace("0", nested(levels, '"}]\\""')).encode())
    assert (found["before"], found["after"]) == (around["before"], around["after"])
    assert is_deeper_than(MAX_LEVELS - 3, found["deep"])


def test_what_is_cut_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_LEVELS", 3)
    cut = decoding._cut(b'{"a":[{"b":[1],"c":{},"d":"x"},[[2]]],"e":[[[[[]]]]]}')
    assert json.loads(cut) == {"a": [{"b": None, "c": None, "d": "x"}, [None]], "e": [[None]]}


def test_what_is_no_json_is_said_to_be_none() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"<html>")


@pytest.mark.parametrize("levels", [600, 2_000])
@pytest.mark.parametrize("end", ["", '"', "1", "]", "]}"])
def test_what_is_cut_off_where_it_is_deep_is_no_json(levels: int, end: str) -> None:
    content = ('{"before":1,"deep":' + '{"a":[' * (levels // 2) + end).encode()
    with pytest.raises(msgspec.DecodeError):
        decode(content)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(shallow(content))


@pytest.mark.timeout(60)  # a time in proportion to the square of the text is an hour
def test_a_text_that_does_not_end_is_read_once() -> None:
    content = b"[" * 2_000 + b"]" * 2_000 + b'"' + b'\\"' * 500_000
    with pytest.raises(msgspec.DecodeError):
        decode(content)


values = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('[]{}"\\,:é', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\', max_size=2), inner, max_size=3),
)


@given(values)
def test_the_depth_is_that_of_the_deepest_array_or_object(value: Any) -> None:
    def levels(part: Any) -> int:
        members = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if members is None else 1 + max(map(levels, members), default=0)

    assert not is_deeper_than(levels(value), value)
    assert levels(value) == 0 or is_deeper_than(levels(value) - 1, value)
    assert json.loads(decoding._cut(json.dumps(value).encode())) == value
