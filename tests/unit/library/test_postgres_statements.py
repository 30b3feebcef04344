"""What PostgreSQL is sent: parameters have names in sql/, and numbers in what the driver takes."""

from __future__ import annotations

import pytest

from hammerwork.backends.postgres.statements import numbered, statements


def test_parameters_are_numbered_by_their_first_place() -> None:
    statement = numbered("SELECT :b::text, :a WHERE x = ANY(:b::text[]) AND y = :a_c -- of :b")
    assert statement.text == "SELECT $1::text, $2 WHERE x = ANY($1::text[]) AND y = $3 -- of $1"
    assert statement.arguments({"a": 1, "a_c": 2, "b": 3, "other": 4}) == [3, 1, 2]


def test_a_value_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="batch"):
        numbered("SELECT :batch").arguments({"batches": []})


def test_no_statement_has_a_parameter_without_a_name() -> None:
    assert {
        name for name, statement in statements().items() if "$1" in statement.text and not statement.parameters
    } == set()
    assert statements()["heartbeat"].parameters[0] == "id"
