"""The language of placeholders, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest

from hammerwork.placeholders import look_up, split, tightened

PAYLOAD = {"a": {"b": [10, {"c": None}]}, "": 1, "0": "zero"}


@pytest.mark.parametrize(
    ("text", "texts", "names"),
    [
        ("plain", ["plain"], []),
        ("{{ index }}", ["", ""], [" index "]),
        ("a{{x}}b{{ y\n}}", ["a", "b", ""], ["x", " y\n"]),
        ("{{ open } {", ["{{ open } {"], []),
        ("{{}}", ["", ""], [""]),
    ],
)
def test_a_text_is_cut_at_its_placeholders(text: str, texts: list[str], names: list[str]) -> None:
    assert split(text) == (texts, names)


def test_a_placeholder_without_spaces_is_one_word() -> None:
    assert tightened("a {{ payload.in }} {{id}}") == "a {{payload.in}} {{id}}"


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
