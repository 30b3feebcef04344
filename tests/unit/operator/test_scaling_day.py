"""The simulated day of docs/autoscaling.md: it is as the page tells, and its picture is the one there."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "scaling_day.py"))


@pytest.fixture(scope="module")
def day() -> list[Any]:
    points: list[Any] = SCRIPT["run"]()
    return points


def wanted(day: list[Any], begin: float, end: float) -> set[int]:
    return {point.wanted for point in day if begin <= point.hour < end}


def test_the_picture_is_that_of_this_function(day: list[Any]) -> None:
    made = SCRIPT["picture"](day)
    assert (ROOT / "docs" / "scaling-day.svg").read_text() == made, "run `make scaling-picture`"


def test_the_day_is_as_the_page_tells(day: list[Any]) -> None:
    assert wanted(day, 0, 2) == {0}
    assert max(wanted(day, 2, 2.02)) == 20
    assert wanted(day, 3, 8) == {0}
    assert wanted(day, 13, 13.5) == {20}, "changed while the database was away"
    assert {point.known for point in day if 13.1 <= point.hour < 13.4} == {False}
    assert max(wanted(day, 15.5, 16)) > 2 * max(wanted(day, 14.5, 15))
    assert day[-1].wanted == 0
    assert day[-1].jobs == 0
