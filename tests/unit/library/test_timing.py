"""The numbers of timing.py, and those that stand in SQL, fit each other."""

from __future__ import annotations

import re

import pytest

from hammerwork import timing
from hammerwork.backends import pool
from hammerwork.backends.mysql import connection
from hammerwork.backends.sql import list_sql, read_queries, read_sql


def test_the_rules_hold() -> None:
    assert timing.broken_rules() == []


def test_a_broken_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "EXCHANGE_SECONDS", timing.SERVER_LOCK_SECONDS)
    assert timing.broken_rules() == ["the server gives up before the worker"]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("READY_HEARTBEATS", 5, "a worker without answers claims nothing, then gives back, then loses its lease"),
        ("GIVE_BACK_SHARE", 1.0, "a worker without answers claims nothing, then gives back, then loses its lease"),
        ("CANCEL_SECONDS", 10.0, "a statement that is given up ends sooner than an exchange"),
        ("LAST_REPORTS_SECONDS", 10.0, "a worker that stops has ended before its process is killed"),
        ("PROCESS_END_SECONDS", 35.0, "a worker that stops has ended before its process is killed"),
        ("POD_END_SECONDS", 35.0, "the processes of a Pod have ended before it is killed"),
        ("DEREGISTER_SECONDS", 10.0, "a worker gives up deregistering before it is waited for no more"),
        ("REPORT_SECONDS", 1.5, "a process that is slow to report is not taken for stuck"),
        ("LOOK_SECONDS", 0.5, "whoever sees a held loop has looked in time"),
        ("NAMED_SECONDS", 15.0, "a handler that holds the loop is named before the worker ends"),
        ("STUCK_SECONDS", 30.0, "an idle worker that is stuck ends within its lease"),
        ("STUCK_BUSY_SECONDS", 30.0, "a busy worker is not ended for what its heartbeats cover"),
    ],
)
def test_what_breaks_a_rule_of_workers_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, rule: str
) -> None:
    monkeypatch.setattr(timing, name, value)
    assert timing.broken_rules() == [rule]


def test_clients_of_mysql_forget_a_connection_before_the_server_does() -> None:
    assert pool.IDLE_SECONDS < connection._IDLE_SECONDS


def test_the_functions_of_postgresql_wait_for_locks_as_long_as_timing_says() -> None:
    texts = [read_sql("hammerwork.backends.postgres", path) for path in list_sql("hammerwork.backends.postgres", "sql")]
    told = {found for text in texts for found in re.findall(r"lock_timeout(?: =|',) '(\w+)'", text)}
    assert told == {f"{timing.SERVER_LOCK_SECONDS:.0f}s", f"{timing.STEERING_LOCK_SECONDS:.0f}s"}


def test_whatever_clients_call_gives_up_waiting_for_locks() -> None:
    for path in list_sql("hammerwork.backends.postgres", "sql"):
        text = read_sql("hammerwork.backends.postgres", path)
        for name, head in re.findall(r"FUNCTION (hammerwork_\w+_\d+)\(.*?\)(.*?)AS \$\$", text, re.DOTALL):
            assert "lock_timeout" in head, name
    for name, text in read_queries("hammerwork.backends.postgres").items():
        if re.search(r"^(DELETE|UPDATE|INSERT)\b", text, re.MULTILINE):
            assert "set_config('lock_timeout'" in text, name
