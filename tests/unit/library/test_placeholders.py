"""The language of placeholders, wherever they stand."""

from __future__ import annotations

import re
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


BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


@given(st.text("{} a\n"))
def test_braces_pair_as_the_shortest_match_from_the_left_does(text: str) -> None:
    assert is_in(text) == (BRACES.search(text) is not None)
    assert tightened(text) == BRACES.sub(lambda found: f"{{{{{found[1].strip()}}}}}", text)
    assert with_value(text, "a", "1") == BRACES.sub(lambda found: "1" if found[1].strip() == "a" else found[0], text)
    names = {inner.strip(): False for inner in BRACES.findall(text)}
    try:
        texts, found = parse(text, names)
    except PlaceholderError:
        assert "{{" in BRACES.split(text)[-1]
    else:
        inners = iter([inner for inner in BRACES.findall(text) if inner.strip() != "{{"])
        assert [placeholder.name for placeholder in found] == [inner.strip() for inner in inners]
        assert texts == BRACES.sub(lambda found: "{{" if found[1].strip() == "{{" else "\0", text).split("\0")


@pytest.mark.timeout(60)  # a time in proportion to the square of the text is an hour
@pytest.mark.parametrize("repeated", ["{", "{{ ", "{{}", "{{ {{ }}", "{{ index }}"])
def test_a_long_text_is_cut_as_fast_as_it_is_read(repeated: str) -> None:
    text = repeated * (1_000_000 // len(repeated))
    closed = "}}" in text
    assert is_in(text) == closed
    assert with_value(text, "a", "1") == text
    assert len(tightened(text)) <= len(text)
    if closed:
        assert "".join(parse(text, NAMES)[0]) == text.replace("{{ {{ }}", "{{").replace("{{ index }}", "")
    else:
        with pytest.raises(PlaceholderError, match="is not closed"):
            parse(text, NAMES)


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
