"""Cron expressions mean what they mean to Kubernetes: the table has the answers of its own library."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork_operator.schedule.cron import InvalidCronError, Times, parse

TABLE = json.loads((Path(__file__).parent / "cron_table" / "table.json").read_text())
PLACES = sorted({(row["zone"], row["year"]) for row in TABLE["years"]})


def digest(times: list[datetime | None]) -> str:
    found = hashlib.sha256()
    for each in times:
        found.update((-1 if each is None else int(each.timestamp())).to_bytes(8, "big", signed=True))
    return found.hexdigest()[:16]


def year_of(times: Times, year: int) -> list[datetime | None]:
    found: list[datetime | None] = []
    at, end = times.next(datetime(year, 1, 1, tzinfo=UTC)), datetime(year + 1, 1, 1, tzinfo=UTC)
    while at is not None and at < end:
        found.append(at)
        at = times.next(at)
    return found


def around(times: Times, day: str) -> list[datetime | None]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    minutes = range(0, 2 * 24 * 60, 7)
    return [times.next(start + timedelta(minutes=minute, seconds=minute % 4 * 20)) for minute in minutes]


def differing(rows: list[dict[str, Any]], place: tuple[str, int], answer: Any) -> list[tuple[Any, ...]]:
    here = [row for row in rows if (row["zone"], row["year"]) == place]
    assert here
    found = [(row, answer(parse(row["expression"], ZoneInfo(row["zone"])), row)) for row in here]
    return [
        (row["expression"], len(times), row["count"])
        for row, times in found
        if (len(times), digest(times)) != (row["count"], row["digest"])
    ]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_year_in_a_zone_has_the_runs_that_a_cron_job_has(place: tuple[str, int]) -> None:
    assert differing(TABLE["years"], place, lambda times, row: year_of(times, row["year"])) == []


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_around_a_change_of_clocks_the_next_run_is_that_of_a_cron_job(place: tuple[str, int]) -> None:
    assert differing(TABLE["changes"], place, lambda times, row: around(times, row["change"])) == []


def is_valid(expression: str) -> bool:
    try:
        parse(expression)
    except InvalidCronError:
        return False
    return True


@pytest.mark.parametrize(("expression", "valid"), TABLE["valid"].items())
def test_what_is_an_expression_is_one_here(expression: str, valid: bool) -> None:
    assert is_valid(expression) == valid


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("* * * *", "4 fields, must be 5: minute, hour, day of month, month, day of week; or a macro such as @daily"),
        ("60 * * * *", "minute '60': must be within 0-59"),
        ("* * * fbe *", "month 'fbe': 'fbe' is not a number from 0 or one of jan, feb,"),
        ("* 5-1 * * *", "hour '5-1': begins after its end"),
        ("*/0 * * * *", "minute '*/0': the step must not be 0"),
        ("1-2-3 * * * *", "minute '1-2-3': more than one '-'"),
        ("1/2/3 * * * *", "minute '1/2/3': more than one '/'"),
        ("@dayly", "'@dayly' is not a macro; must be one of @yearly, @annually,"),
        ("@every 30s", "@every '30s': must be from 1 minute to 5 years"),
        ("@every 1d", "@every '1d': must be a duration such as 90m or 1h30m"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(expression: str, message: str) -> None:
    with pytest.raises(InvalidCronError) as refused:
        parse(expression)
    assert message in str(refused.value)


@pytest.mark.timeout(60)  # a time in proportion to the square of the text is an hour
def test_a_long_duration_is_refused_as_fast_as_it_is_read() -> None:
    with pytest.raises(InvalidCronError, match="must be a duration"):
        parse("@every " + "1" * 1_000 + "x")
    with pytest.raises(InvalidCronError, match="must be a duration"):
        parse("@every " + "1" * 20_000)


def test_a_day_that_a_zone_leaves_out_is_passed() -> None:
    """robfig/cron never comes back from this one."""
    friday = parse("0 12 30 12 *", ZoneInfo("Pacific/Apia"))
    assert friday.next(datetime(2011, 12, 29, tzinfo=UTC)) == datetime(2012, 12, 29, 22, tzinfo=UTC)


def test_a_day_that_no_month_has_never_comes() -> None:
    assert parse("0 0 31 2 *").next(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_an_interval_counts_from_the_time_before() -> None:
    at = datetime(2026, 5, 1, 12, 0, 30, 250_000, tzinfo=UTC)
    assert parse("@every 1h30m").next(at) == datetime(2026, 5, 1, 13, 30, 30, tzinfo=UTC)


@given(st.integers(1_577_836_800, 2_082_758_400), st.sampled_from(PLACES))
def test_the_next_time_is_later_and_shows_on_the_clock(second: int, place: tuple[str, int]) -> None:
    zone = ZoneInfo(place[0])
    after = datetime.fromtimestamp(second, UTC)
    found = parse("7-59/13 2,14 * * 1-5", zone).next(after)
    assert found is not None
    assert found > after
    local = found.astimezone(zone)
    assert (local.minute in range(7, 60, 13), local.hour in {2, 14}, local.isoweekday() <= 5) == (True, True, True)
