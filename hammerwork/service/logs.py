"""The log of a process: one line for each record, as text or as JSON, on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from hammerwork.printable import printable

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json")

_LEAST_LEVELS = {
    # The pool logs a traceback for every attempt to reconnect; we log once that the database is unreachable.
    "asyncpg": logging.ERROR,
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    "kopf": logging.WARNING,
}
"""Whatever level is set, these loggers write nothing below their own."""

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What kopf gives its records to find its own way; `settings` would be all that kopf can be told, in each line.
_KOPFS_FIELDS = frozenset({"k8s_skip", "settings"})


def configure(level: str, style: str, *, with_process: bool = False) -> None:
    """Send every record of this process to standard error.

    Args:
        level: One of `LEVELS`.
        style: One of `FORMATS`.
        with_process: Whether each line has the number of the process, as several write to one log.
    """
    handler = logging.StreamHandler(sys.stderr)
    process = os.getpid() if with_process else None
    handler.setFormatter(JSONFormatter(process) if style == "json" else TextFormatter(process))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, least in _LEAST_LEVELS.items():
        logging.getLogger(name).setLevel(max(logging.getLevelName(level), least))


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """Time, level, logger, the process if it is given, and message; a traceback is folded into the same line."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = "" if process is None else f"[{process}]"

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line = f"{_moment(record)} {record.levelname} {record.name}{self._process}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(line.replace("\n", " | "))


class JSONFormatter(logging.Formatter):
    """An object with time, level, logger, message, what was given as `extra`, and the traceback if there is one."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        fields = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._process,
        }
        unshown = _OWN_FIELDS | _KOPFS_FIELDS if record.name.partition(".")[0] == "kopf" else _OWN_FIELDS
        fields.update({name: value for name, value in vars(record).items() if name not in unshown})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return printable(json.dumps(fields, default=str, ensure_ascii=False))
