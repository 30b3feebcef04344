"""The container's log: one line per record, whatever is in it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from hammerwork_worker.log import JSONFormatter, TextFormatter


def record(message: str, *, error: ValueError | None = None, **extra: object) -> logging.LogRecord:
    info = None
    if error is not None:
        try:
            raise error
        except ValueError:
            info = sys.exc_info()
    made = logging.getLogger("hammerwork.worker").makeRecord(
        "hammerwork.worker", logging.WARNING, __file__, 1, message, (), info, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def test_text_is_time_level_logger_and_message() -> None:
    assert TextFormatter().format(record("claimed")) == "2023-11-14T22:13:20.250Z WARNING hammerwork.worker: claimed"


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_a_record_with_line_ends_and_a_traceback_is_one_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record("two\nlines", error=ValueError("a\nb")))
    assert "\n" not in line
    assert "ValueError" in line
    assert "Traceback" in line


def test_json_has_what_was_given_as_extra() -> None:
    fields = json.loads(JSONFormatter().format(record("lost", error=ValueError("no"), batch="b-1", claim=7)))
    assert "ValueError: no" in fields.pop("traceback")
    assert fields == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "hammerwork.worker",
        "message": "lost",
        "batch": "b-1",
        "claim": 7,
    }
