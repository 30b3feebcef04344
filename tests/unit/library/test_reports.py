"""What is said of figures."""

from __future__ import annotations

import pytest

from hammerwork.reports import percentage


@pytest.mark.parametrize(
    ("part", "whole", "digits", "expected"),
    [
        (0, 3, 0, "0%"),
        (1, 3, 0, "33%"),
        (996, 1_000, 0, "99%"),
        (999_999, 1_000_000, 0, "99%"),
        (449_100, 450_000, 1, "99.8%"),
        (1, 2000, 1, "0.0%"),
        (3, 3, 1, "100%"),
        (0, 0, 0, "0%"),
        (0, 0, 1, "0.0%"),
    ],
)
def test_percentages_are_rounded_down(part: int, whole: int, digits: int, expected: str) -> None:
    assert percentage(part, whole, digits=digits) == expected
