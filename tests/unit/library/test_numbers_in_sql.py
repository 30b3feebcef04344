"""Numbers that SQL has to spell out are those of the library."""

from __future__ import annotations

import re

from hammerwork import Priority
from hammerwork.backends.slices import MAX_CHUNK_JOBS
from hammerwork.backends.sql import list_sql, read_sql
from hammerwork.batch import MAX_BATCH_SIZE


def statements(backend: str) -> str:
    """All of a backend's SQL but its migrations."""
    package = f"hammerwork.backends.{backend}"
    return "\n".join(read_sql(package, path) for path in list_sql(package, "sql"))


def test_a_chunk_has_as_many_jobs_in_sql() -> None:
    # The other statements are given the number; see `MAX_CHUNK_JOBS` in both backend.py and in mysql/chores.py.
    assert re.findall(r"\bplace / (\d+)", statements("postgres")) == [str(MAX_CHUNK_JOBS)] * 2


def test_a_claims_worth_of_jobs_fits_a_chunk() -> None:
    assert MAX_BATCH_SIZE <= MAX_CHUNK_JOBS


def test_the_highest_priority_is_the_same_in_sql() -> None:
    turned = re.findall(
        r"\b(\d+) - (?:\w+\.)?(?:priority|precedence|top_priority|MIN\(precedence\))", statements("mysql")
    )
    assert turned
    assert {int(number) for number in turned} == {max(Priority)}
    assert min(Priority) == 0


def test_as_many_failures_are_kept_on_both_databases() -> None:
    (postgres,) = re.findall(r"c_failures CONSTANT int := (\d+)", statements("postgres"))
    (mysql,) = re.findall(r"SELECT COUNT\(\*\) = (\d+) INTO @full", statements("mysql"))
    assert postgres == mysql
