"""What clients send to a database fits the functions of any version that is there; see docs/decisions/009."""

from __future__ import annotations

import re

import pytest

from hammerwork.backends.sql import list_sql, read_preamble, read_queries

_CALLED = re.compile(r"\b(hammerwork_\w+)\(")
_NUMBERED = re.compile(r"_\d+$")


def calls(backend: str) -> dict[str, set[str]]:
    """Return the functions of ours that the statements of a backend call, by the statements' names."""
    package = f"hammerwork.backends.{backend}"
    named = read_queries(package)
    assert len(named) > 20
    return {name: set(_CALLED.findall(text)) for name, text in named.items()}


@pytest.mark.parametrize("backend", ["postgres", "mysql"])
def test_statements_call_only_functions_with_a_number(backend: str) -> None:
    called = {name: {each for each in found if not _NUMBERED.search(each)} for name, found in calls(backend).items()}
    assert {name: found for name, found in called.items() if found} == {}


def test_statements_call_only_functions_that_are_there() -> None:
    package = "hammerwork.backends.postgres"
    texts = "".join(read_preamble(package, path) for path in list_sql(package, "sql"))
    made = set(re.findall(r"^CREATE OR REPLACE FUNCTION (\w+)\(", texts, re.MULTILINE))
    called = set().union(*calls("postgres").values())
    assert called
    assert called <= made
