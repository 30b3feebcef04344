from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.kube import statuses
from hammerwork_operator.kube.statuses import Pace


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5}, {"b": 5, "c": None}),
    ],
)
def test_a_patch_holds_what_differs_and_removes_what_is_gone(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any] | None
) -> None:
    assert statuses.patch(before, after) == patch


@pytest.mark.parametrize(("version", "older"), [("9", True), ("10", False), ("11", False)])
def test_versions_are_compared_as_numbers(version: str, older: bool) -> None:
    assert statuses.is_older({"resourceVersion": version}, "10") is older


class Clock:
    """Stands still until the test sets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("took", "progress_only", "rest"),
    [(0.0, False, 1.0), (0.0, True, 1.0), (0.5, True, 2.0), (0.5, False, 1.0)],
    ids=["quick", "quick progress", "slow progress", "slow, another situation"],
)
def test_progress_is_written_the_seldomer_the_longer_a_write_takes(
    took: float, progress_only: bool, rest: float
) -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.rest(progress_only=progress_only) <= 0
    with pace.writing():
        clock.now += took
    assert pace.rest(progress_only=progress_only) == rest
    clock.now += rest
    assert pace.rest(progress_only=progress_only) == 0


def test_a_write_that_fails_may_be_tried_again_at_once() -> None:
    pace = Pace(Clock())
    with pytest.raises(OSError, match="gone"), pace.writing():
        raise OSError("gone")
    assert pace.rest(progress_only=True) <= 0
