"""Readers of environment variables: an empty one is the default, and an error names the variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hammerwork.service import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READERS: dict[str, Callable[[Mapping[str, str]], object]] = {
    "text": lambda environ: environment.text(environ, "V", default="else"),
    "whole_number": lambda environ: environment.whole_number(environ, "V", default=7, low=5, high=2_000),
    "milliseconds": lambda environ: environment.milliseconds(environ, "V", default=0.25, longest=2.0),
    "seconds": lambda environ: environment.seconds(environ, "V", default=1.5, longest=1_000.0),
    "truth": lambda environ: environment.truth(environ, "V", default=True),
    "one_of": lambda environ: environment.one_of(environ, "V", ("a", "b", "c"), default="b"),
    "port": lambda environ: environment.port(environ, "V", default=8080),
    "log_level": lambda environ: environment.log_level(environ, "V", default="INFO"),
    "log_format": lambda environ: environment.log_format(environ, "V", default="text"),
}
DEFAULTS = {
    "text": "else",
    "whole_number": 7,
    "milliseconds": 0.25,
    "seconds": 1.5,
    "truth": True,
    "one_of": "b",
    "port": 8080,
    "log_level": "INFO",
    "log_format": "text",
}


@pytest.mark.parametrize("environ", [{}, {"V": ""}, {"V": "  "}], ids=["unset", "empty", "spaces"])
def test_what_is_not_set_is_the_default(environ: dict[str, str]) -> None:
    assert {name: read(environ) for name, read in READERS.items()} == DEFAULTS
    with pytest.raises(environment.SettingError) as caught:
        environment.required(environ, "V", "a thing")
    assert str(caught.value) == "V: not set, must be a thing"


@pytest.mark.parametrize(
    ("reader", "value", "read"),
    [
        ("text", " two words\n", "two words"),
        ("whole_number", "5", 5),
        ("whole_number", "2000", 2_000),
        ("milliseconds", "1", 0.001),
        ("milliseconds", "2000", 2.0),
        ("seconds", "0", 0.0),
        ("seconds", "999.5", 999.5),
        ("truth", "false", False),
        ("one_of", " c", "c"),
        ("port", "0", 0),
        ("port", "65535", 65_535),
        ("log_level", "warning", "WARNING"),
        ("log_level", "Error", "ERROR"),
        ("log_format", "json", "json"),
    ],
)
def test_a_value_is_read_without_the_spaces_around_it(reader: str, value: str, read: object) -> None:
    assert READERS[reader]({"V": value}) == read
    assert READERS[reader]({"V": f" {value}\n"}) == read


@pytest.mark.parametrize(
    ("reader", "value", "allowed"),
    [
        ("whole_number", "4", "a whole number, 5 to 2,000"),
        ("whole_number", "2001", "a whole number, 5 to 2,000"),
        ("whole_number", "6.0", "a whole number, 5 to 2,000"),
        ("whole_number", "1_0", "a whole number, 5 to 2,000"),
        ("whole_number", "+10", "a whole number, 5 to 2,000"),
        ("whole_number", "٧", "a whole number, 5 to 2,000"),
        ("whole_number", "9" * 5_000, "a whole number, 5 to 2,000"),
        ("milliseconds", "0", "a whole number, 1 to 2,000"),
        ("seconds", "-0.1", "a number of seconds, 0 to 1,000"),
        ("seconds", "inf", "a number of seconds, 0 to 1,000"),
        ("seconds", "nan", "a number of seconds, 0 to 1,000"),
        ("truth", "yes", "true or false"),
        ("one_of", "d", "a, b or c"),
        ("one_of", "A", "a, b or c"),
        ("port", "-1", "a whole number, 0 to 65,535"),
        ("port", "65536", "a whole number, 0 to 65,535"),
        ("log_level", "loud", "DEBUG, INFO, WARNING or ERROR"),
        ("log_level", "NOTSET", "DEBUG, INFO, WARNING or ERROR"),
        ("log_format", "JSON", "text or json"),
    ],
)
def test_a_value_that_is_refused_is_told_with_its_variable_and_what_is_allowed(
    reader: str, value: str, allowed: str
) -> None:
    with pytest.raises(environment.SettingError) as caught:
        READERS[reader]({"V": value})
    assert str(caught.value) == f"V: {value!r}, must be {allowed}"
