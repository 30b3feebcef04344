"""The numbers of timing.py, and those that stand in SQL, fit each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hammerwork import timing
from hammerwork.backends.sql import list_sql, read_sql

if TYPE_CHECKING:
    import pytest


def test_the_rules_hold() -> None:
    assert timing.broken_rules() == []


def test_a_broken_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "EXCHANGE_SECONDS", timing.SERVER_LOCK_SECONDS)
    assert timing.broken_rules() == ["the server gives up before the worker"]


def test_the_functions_of_postgresql_wait_for_locks_as_long_as_timing_says() -> None:
    texts = [read_sql("hammerwork.backends.postgres", path) for path in list_sql("hammerwork.backends.postgres", "sql")]
    told = {found for text in texts for found in re.findall(r"lock_timeout = '(\w+)'", text)}
    assert told == {f"{timing.SERVER_LOCK_SECONDS:.0f}s", f"{timing.STEERING_LOCK_SECONDS:.0f}s"}


def test_whatever_clients_call_gives_up_waiting_for_locks() -> None:
    for path in list_sql("hammerwork.backends.postgres", "sql"):
        text = read_sql("hammerwork.backends.postgres", path)
        for name, head in re.findall(r"FUNCTION (hammerwork_\w+_\d+)\(.*?\)(.*?)AS \$\$", text, re.DOTALL):
            assert "lock_timeout" in head, name
