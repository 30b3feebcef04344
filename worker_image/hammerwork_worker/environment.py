"""The worker container's settings: the names of its environment variables, and what each may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import msgspec

from hammerwork import handlers
from hammerwork.batch import QUEUE_PATTERN
from hammerwork.errors import HammerworkError
from hammerwork.handlers import HandlerReference

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE_URL = "HAMMERWORK_DATABASE_URL"
QUEUE = "HAMMERWORK_QUEUE"
POOL = "HAMMERWORK_POOL"
POD_UID = "HAMMERWORK_POD_UID"
POD_NAME = "HAMMERWORK_POD_NAME"
CONCURRENCY = "HAMMERWORK_CONCURRENCY"
POLL_INTERVAL_MILLISECONDS = "HAMMERWORK_POLL_INTERVAL_MILLISECONDS"
BATCH_PROCESSING = "HAMMERWORK_BATCH_PROCESSING"
SHUTDOWN_GRACE_PERIOD_SECONDS = "HAMMERWORK_SHUTDOWN_GRACE_PERIOD_SECONDS"
PORT = "HAMMERWORK_PORT"
LOG_FORMAT = "HAMMERWORK_LOG_FORMAT"
LOG_LEVEL = "HAMMERWORK_LOG_LEVEL"

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_NOT_SHOWN = frozenset({DATABASE_URL})


class SettingError(HammerworkError, ValueError):
    """An environment variable is missing or holds something that it must not."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker container is told."""

    database_url: str
    """Of the queue's database, e.g. ``postgresql://user:password@host/database``."""
    queue: str
    handler: HandlerReference
    pool: str = ""
    pod_uid: str = ""
    """Of the Pod: lets a restarted container take back at once what its predecessor held."""
    pod_name: str = ""
    concurrency: int = 10
    poll_interval_seconds: float = 0.1
    batch_processing: bool = True
    shutdown_grace_period_seconds: float = 30.0
    port: int = 8080
    log_format: str = "text"
    log_level: str = "INFO"

    def __repr__(self) -> str:
        # Without the URL, which holds a password.
        return f"WorkerSettings(queue={self.queue!r}, handler={self.handler!r})"


def read_settings(environ: Mapping[str, str]) -> WorkerSettings:
    """Return the settings that `environ` holds; an empty variable counts as one that is not set.

    Raises:
        SettingError: A variable that is needed is missing, or a value is not allowed.
    """
    queue = _required(environ, QUEUE, "the name of the queue to work on")
    if not re.fullmatch(QUEUE_PATTERN, queue):
        _refuse(QUEUE, queue, "1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends")
    return WorkerSettings(
        database_url=_required(environ, DATABASE_URL, "a URL such as postgresql://user:password@host/database"),
        queue=queue,
        handler=_handler(environ),
        pool=environ.get(POOL, ""),
        pod_uid=environ.get(POD_UID, ""),
        pod_name=environ.get(POD_NAME, ""),
        concurrency=_whole_number(environ, CONCURRENCY, default=10, low=1, high=10_000),
        poll_interval_seconds=_whole_number(environ, POLL_INTERVAL_MILLISECONDS, default=100, low=1, high=3_600_000)
        / 1000.0,
        batch_processing=_truth(environ, BATCH_PROCESSING, default=True),
        shutdown_grace_period_seconds=_seconds(environ, SHUTDOWN_GRACE_PERIOD_SECONDS, default=30.0),
        port=_whole_number(environ, PORT, default=8080, low=0, high=65_535),
        log_format=read_log_format(environ),
        log_level=_one_of(environ, LOG_LEVEL, LOG_LEVELS, default="INFO"),
    )


def read_log_format(environ: Mapping[str, str]) -> str:
    """Return ``text`` or ``json``; raises `SettingError`."""
    return _one_of(environ, LOG_FORMAT, ("text", "json"), default="text")


def _refuse(name: str, value: str, allowed: str) -> NoReturn:
    shown = "(hidden)" if name in _NOT_SHOWN else repr(value)
    raise SettingError(f"{name}: {shown}, must be {allowed}")


def _required(environ: Mapping[str, str], name: str, meaning: str) -> str:
    value = environ.get(name, "")
    if not value.strip():
        raise SettingError(f"{name}: not set, must be {meaning}")
    return value


def _handler(environ: Mapping[str, str]) -> HandlerReference:
    """Return the handler of the one kind whose first variable is set."""
    main = {kind.fields[kind.main].variable: kind for kind in handlers.KINDS}
    given = [name for name in main if environ.get(name, "").strip()]
    if len(given) != 1:
        state = f"{' and '.join(given)}: set together, must be one of them" if given else ""
        raise SettingError(state or f"{' or '.join(main)}: not set, must be {handlers.allowed_texts()}")
    kind = main[given[0]]
    fields = {}
    for name, field in kind.fields.items():
        text = environ.get(field.variable, "")
        if text and not re.fullmatch(field.pattern, text):
            _refuse(field.variable, text, field.allowed)
        if text:
            fields[name] = text
    return HandlerReference(kind.name, fields)


def _whole_number(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    allowed = f"a whole number, {low} to {high:,}"
    try:
        number = int(text)
    except ValueError:
        _refuse(name, text, allowed)
    if not low <= number <= high:
        _refuse(name, text, allowed)
    return number


def _seconds(environ: Mapping[str, str], name: str, *, default: float) -> float:
    text = environ.get(name, "")
    if not text:
        return default
    allowed = "a number of seconds, 0 to 86,400"
    try:
        number = float(text)
    except ValueError:
        _refuse(name, text, allowed)
    if not 0 <= number <= 86_400:
        _refuse(name, text, allowed)
    return number


def _truth(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    return _one_of(environ, name, ("true", "false"), default="true" if default else "false") == "true"


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...], *, default: str) -> str:
    value = environ.get(name, "") or default
    if value not in allowed:
        _refuse(name, value, " or ".join(allowed))
    return value
