"""Which failed jobs a retry is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import InvalidSelectionError
from hammerwork.selection import MAX_RANGES, Selection, parse_indexes, select


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("7", ((7, 7),)),
        ("5-9,77", ((5, 9), (77, 77))),
        (" 77 , 5-9", ((5, 9), (77, 77))),
        ("5-9,7-12,13", ((5, 13),)),
        ("0-2147483646", ((0, 2147483646),)),
    ],
)
def test_ranges(text: str, spans: tuple[tuple[int, int], ...]) -> None:
    assert parse_indexes(text) == spans


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "indexes: a range is empty; write indexes and ranges of them with commas between, as 5-9,77"),
        ("5,,6", "indexes: a range is empty"),
        ("5-", "indexes: '5-' is no range"),
        ("-5", "indexes: '-5' is no range"),
        ("a", "indexes: 'a' is no range"),
        ("\u0665", "is no range"),
        ("9-5", "indexes: 9-5 ends before it begins; write 5-9"),
        ("2147483647", "indexes: 2147483647: the limit is 2,147,483,646"),
        (",".join(map(str, range(MAX_RANGES + 1))), "indexes: 1,001 ranges, the limit is 1,000"),
    ],
)
def test_what_is_no_range_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSelectionError) as caught:
        parse_indexes(text)
    assert message in str(caught.value)


def test_nothing_chosen_is_all_and_a_single_text_is_no_list_of_types() -> None:
    assert select(None, None) is None
    assert select([], None) is None
    with pytest.raises(InvalidSelectionError, match="give a list of names"):
        select("TimeoutError", None)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=9))
def test_a_selection_has_the_jobs_of_its_ranges_whatever_their_order(ranges: list[tuple[int, int]]) -> None:
    chosen = select(["B", "A", "B"], ",".join(f"{first}-{first + more}" for first, more in ranges))
    assert chosen is not None
    wanted = {index for first, more in ranges for index in range(first, first + more + 1)}
    assert {index for index in range(80) if chosen.matches(index, "A")} == wanted
    assert not any(chosen.matches(index, "C") for index in range(80))
    assert Selection.from_text(chosen.text) == chosen
    again = select(["A", "B"], ",".join(map(str, sorted(wanted, reverse=True))))
    assert again is not None
    assert again.text == chosen.text
