"""How many rows of a query are fetched at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hammerwork.backends.querying import BLOCK_BYTES, MOST_ROWS, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

KIND: dict[str, Callable[[str], Any]] = {
    "text": lambda text: text,
    "dict": lambda text: {"a": {"b": text}},
    "list": lambda text: [None, [text]],
    "bytes": lambda text: text.encode(),
}


@pytest.mark.parametrize("kind", KIND)
def test_a_block_of_rows_has_about_so_many_bytes_whatever_its_values_are(kind: str) -> None:
    found = Rows(["id", "value"])

    def blocks(size: int, count: int) -> list[int]:
        """Return how many rows were fetched each time."""
        counts = [found.block]
        for _ in range(count):
            rows = [(1, KIND[kind]("x" * size))] * found.block
            assert len(list(found.objects(rows))) == len(rows)
            counts.append(found.block)
        return counts

    assert blocks(300_000, 3) == [1, 1, 1, 1]
    assert blocks(0, 12) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, MOST_ROWS, MOST_ROWS, MOST_ROWS]
    assert 30 <= blocks(10_000, 1)[-1] <= 55
    assert blocks(2 * BLOCK_BYTES, 1)[-1] == 1
