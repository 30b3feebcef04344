"""The language of placeholders, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork.placeholders import PlaceholderError, is_in, look_up, parse, tightened, with_value

PAYLOAD = {"a": {"b": [10, {"c": None}]}, "": 1, "0": "zero"}
NAMES = {"index": False, "item": True, "matrix.day": False}


@pytest.mark.parametrize(
    ("text", "texts", "found"),
    [
        ("plain", ["plain"], []),
        ("{{ index }}", ["", ""], [("index", [])]),
        ("a{{index}}b{{ item.x.0\n}}", ["a", "b", ""], [("index", []), ("item", ["x", "0"])]),
        ("{{ item }}{{ matrix.day }}", ["", "", ""], [("item", []), ("matrix.day", [])]),
        ("{ x } }} {", ["{ x } }} {"], []),
        ("{{ {{ }} index }}", ["{{ index }}"], []),
        ("{{{{}}{{ index }}{{ {{ }}", ["{{", "{{"], [("index", [])]),
    ],
)
def test_a_text_is_cut_at_its_placeholders(text: str, texts: list[str], found: list[tuple[str, list[str]]]) -> None:
    assert parse(text, NAMES) == (texts, found)


THERE_ARE = "there are '{{ index }}', '{{ item.PATH }}', '{{ item }}' and '{{ matrix.day }}'"
LITERAL = "a literal '{{' is written '{{ {{ }}'"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ indx }}", f"unknown placeholder '{{{{ indx }}}}'; {THERE_ARE}"),
        ("{{ index.a }}", f"unknown placeholder '{{{{ index.a }}}}'; {THERE_ARE}"),
        ("{{ item. }}", f"unknown placeholder '{{{{ item. }}}}'; {THERE_ARE}"),
        ("{{ item..a }}", f"unknown placeholder '{{{{ item..a }}}}'; {THERE_ARE}"),
        ("{{ items }}", f"unknown placeholder '{{{{ items }}}}'; {THERE_ARE}"),
        ("{{}}", f"unknown placeholder '{{{{}}}}'; {THERE_ARE}"),
        ("{{ matrix.days }}", f"unknown placeholder '{{{{ matrix.days }}}}'; {THERE_ARE}"),
        ("{{ {{ index }}", f"unknown placeholder '{{{{ {{{{ index }}}}'; {THERE_ARE}"),
        ("a {{ index }", f"the placeholder '{{{{ index }}' is not closed; {LITERAL}"),
        ("{{ index }}{{" + "x" * 99, f"the placeholder '{{{{{'x' * 57}…' is not closed; {LITERAL}"),
    ],
)
def test_what_is_no_placeholder_is_refused(text: str, told: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        parse(text, NAMES)
    assert str(caught.value) == told


@given(st.text())
def test_every_text_can_be_written(text: str) -> None:
    written = text.replace("{{", "{{ {{ }}")
    assert parse(written, NAMES) == ([text], [])


def test_a_placeholder_without_spaces_is_one_word() -> None:
    assert tightened("a {{ payload.in }} {{id}} {{ {{ }}") == "a {{payload.in}} {{id}} {{{{}}"
    assert [is_in(text) for text in ("a {{ x }}", "a {{ x", "}}")] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ a }}-{{a}}{{  a\n}}", "1-11"),
        ("{{ b }} {{ a.b }} {{ aa }} { a } }} {{ x", "{{ b }} {{ a.b }} {{ aa }} { a } }} {{ x"),
        ("{{ {{ }} a }} {{ a }}", "{{ {{ }} a }} 1"),
    ],
)
def test_one_name_gets_its_value_and_all_else_stays(text: str, result: str) -> None:
    assert with_value(text, "a", "1") == result


@pytest.mark.parametrize(
    ("path", "value"), [([], PAYLOAD), (["a", "b", "0"], 10), (["a", "b", "1", "c"], None), (["0"], "zero")]
)
def test_a_path_leads_by_keys_and_positions(path: list[str], value: Any) -> None:
    assert look_up(PAYLOAD, path) == value


@pytest.mark.parametrize(
    "path", [["b"], ["a", "b", "2"], ["a", "b", "-1"], ["a", "b", "x"], ["0", "0"], ["a", "b", "0", "x"]]
)
def test_a_path_that_leads_nowhere_is_told(path: list[str]) -> None:
    with pytest.raises(LookupError):
        look_up(PAYLOAD, path)
