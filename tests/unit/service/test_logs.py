"""The log of a process: one line for each record, whatever is in it, and one rule for levels."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from hammerwork.service.logs import JSONFormatter, TextFormatter
from tests.harness.hostile import HOSTILE, steering


def record(
    message: str, *, error: ValueError | None = None, logger: str = "hammerwork.worker", **extra: object
) -> logging.LogRecord:
    info = None
    if error is not None:
        try:
            raise error
        except ValueError:
            info = sys.exc_info()
    made = logging.getLogger(logger).makeRecord(logger, logging.WARNING, __file__, 1, message, (), info, extra=extra)
    made.created = 1_700_000_000.25
    return made


def test_text_is_time_level_logger_and_message() -> None:
    assert TextFormatter().format(record("claimed")) == "2023-11-14T22:13:20.250Z WARNING hammerwork.worker: claimed"


def test_lines_of_several_processes_name_theirs() -> None:
    line = TextFormatter(7).format(record("claimed"))
    assert line == "2023-11-14T22:13:20.250Z WARNING hammerwork.worker[7]: claimed"
    assert json.loads(JSONFormatter(7).format(record("claimed")))["process"] == 7
    assert "process" not in json.loads(JSONFormatter().format(record("claimed")))


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_a_record_with_line_ends_and_a_traceback_is_one_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record("two\nlines", error=ValueError("a\nb")))
    assert "\n" not in line
    assert "ValueError" in line
    assert "Traceback" in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_nothing_in_a_record_steers_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record(HOSTILE, error=ValueError(HOSTILE), extra_of_a_handler=HOSTILE))
    assert steering(line, but="") == set()
    assert r"\u001b[31mred" in line
    if isinstance(formatter, JSONFormatter):
        assert json.loads(line)["message"] == HOSTILE


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


def test_json_has_of_kopfs_extra_which_object_is_meant_and_not_how_kopf_is_set() -> None:
    extra: dict[str, Any] = {"k8s_skip": False, "k8s_ref": {"kind": "JobBatch", "name": "b"}, "settings": object()}
    fields = json.loads(JSONFormatter().format(record("retried", logger="kopf.objects", **extra)))
    assert fields.keys() == {"time", "level", "logger", "message", "k8s_ref"}
    assert fields["k8s_ref"] == {"kind": "JobBatch", "name": "b"}


PROGRAM = """
import logging, sys
from hammerwork.service import logs

logs.configure(sys.argv[1], sys.argv[2])
for name in ("handlers", "hammerwork.worker", "kopf.objects", "aiohttp.access", "asyncio", "asyncpg.pool"):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(level, "said")
"""
LEVELS = ("debug", "info", "warning", "error")


@pytest.mark.parametrize("level", LEVELS)
def test_packages_that_we_stand_on_write_warnings_and_worse_and_all_else_what_the_level_says(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level.upper(), "json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    written = [(line["logger"], line["level"]) for line in map(json.loads, done.stderr.splitlines())]
    least = {
        **dict.fromkeys(("handlers", "hammerwork.worker"), "debug"),
        **dict.fromkeys(("kopf.objects", "aiohttp.access", "asyncio"), "warning"),
        "asyncpg.pool": "error",
    }
    assert written == [
        (logger, of_it)
        for logger, own in least.items()
        for of_it in LEVELS
        if LEVELS.index(of_it) >= max(LEVELS.index(own), LEVELS.index(level))
    ]
