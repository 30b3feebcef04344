from __future__ import annotations

from hammerwork_cli.running.deadlines import Deadlines
from tests.unit.cli.statuses import CREATED, ID, START, status


def test_the_deadline_counts_from_the_first_row() -> None:
    deadlines = Deadlines({ID: 60})
    assert deadlines.passed([status()], START + 60) == []
    assert deadlines.passed([status()], START + 61) == [ID]


def test_a_suspended_batch_has_no_deadline_and_begins_anew_when_it_is_resumed() -> None:
    deadlines = Deadlines({ID: 60})
    assert deadlines.passed([status(suspended=True)], START + 50) == []
    assert deadlines.passed([status(suspended=True)], START + 500) == []
    assert deadlines.passed([status()], START + 560) == []
    assert deadlines.passed([status()], START + 561) == [ID]


def test_what_has_finished_or_has_no_deadline_is_left_alone() -> None:
    assert Deadlines({ID: 60}).passed([status(finished_at=CREATED)], START + 99) == []
    assert Deadlines({}).passed([status()], START + 99) == []
