"""The batches of finished objects have their turns."""

from __future__ import annotations

import uuid

from hammerwork_operator.databases.resting import LOOKS, Resting

ONE, OTHER = ("a", "hammerwork-database", "url"), ("b", "hammerwork-database", "url")


def test_all_have_their_turn_before_one_has_it_again() -> None:
    resting = Resting()
    ids = [uuid.uuid4() for _ in range(2 * LOOKS + 7)]
    for batch_id in ids:
        resting.add(ONE, batch_id, lambda _row: None)
    turns = [list(resting.turn([ONE])) for _ in range(3)]
    assert [len(turn) for turn in turns] == [LOOKS] * 3
    assert [batch_id for turn in turns for batch_id in turn] == [*ids, *ids[: LOOKS - 7]]


def test_the_secrets_of_one_database_share_its_turns() -> None:
    resting = Resting()
    first, second = uuid.uuid4(), uuid.uuid4()
    resting.add(ONE, first, lambda _row: None)
    for batch_id in [second, *(uuid.uuid4() for _ in range(LOOKS))]:
        resting.add(OTHER, batch_id, lambda _row: None)
    assert len(resting.turn([ONE, OTHER])) == LOOKS // 2 + 1
    assert resting.secrets == [ONE, OTHER]
    resting.remove(ONE, first)
    resting.remove(ONE, second)
    assert resting.secrets == [OTHER]
    assert len(resting.turn([ONE, OTHER])) == LOOKS
