"""The worker container's settings, and what each of its environment variables may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from hammerwork import handlers
from hammerwork.batch import QUEUE_PATTERN
from hammerwork.errors import HammerworkError
from hammerwork.handlers import HandlerReference
from hammerwork.working import variables
from hammerwork.working.settings import MAX_CONCURRENCY, MAX_GRACE_SECONDS, MAX_POLL_SECONDS, ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_NOT_SHOWN = frozenset({variables.DATABASE_URL})


class SettingError(HammerworkError, ValueError):
    """An environment variable is missing or holds something that it must not."""


class ContainerSettings(ProcessSettings, frozen=True, kw_only=True):
    """Everything that a worker container is told. Its `instance` is the UID of the Pod."""

    pod_name: str = ""
    port: int = 8080
    log_format: str = "text"


DEFAULTS = ContainerSettings(database_url="", queue="", handler=HandlerReference("", {}))
"""What is not set; the settings that are needed are empty."""


def read_settings(environ: Mapping[str, str]) -> ContainerSettings:
    """Return the settings that `environ` holds; an empty variable counts as one that is not set.

    Raises:
        SettingError: A variable that is needed is missing, or a value is not allowed.
    """
    queue = _required(environ, variables.QUEUE, "the name of the queue to work on")
    if not re.fullmatch(QUEUE_PATTERN, queue):
        _refuse(variables.QUEUE, queue, "1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends")
    return ContainerSettings(
        database_url=_required(
            environ, variables.DATABASE_URL, "a URL such as postgresql://user:password@host/database"
        ),
        queue=queue,
        handler=_handler(environ),
        pool=environ.get(variables.POOL, ""),
        instance=environ.get(variables.POD_UID, ""),
        pod_name=environ.get(variables.POD_NAME, ""),
        concurrency=_whole_number(
            environ, variables.CONCURRENCY, default=DEFAULTS.concurrency, low=1, high=MAX_CONCURRENCY
        ),
        poll_interval_seconds=_milliseconds(
            environ,
            variables.POLL_INTERVAL_MILLISECONDS,
            default=DEFAULTS.poll_interval_seconds,
            longest=MAX_POLL_SECONDS,
        ),
        batch_processing=_truth(environ, variables.BATCH_PROCESSING, default=DEFAULTS.batch_processing),
        shutdown_grace_period_seconds=_seconds(
            environ,
            variables.SHUTDOWN_GRACE_PERIOD_SECONDS,
            default=DEFAULTS.shutdown_grace_period_seconds,
            longest=MAX_GRACE_SECONDS,
        ),
        port=_whole_number(environ, variables.PORT, default=DEFAULTS.port, low=0, high=65_535),
        log_format=_one_of(environ, variables.LOG_FORMAT, LOG_FORMATS, default=DEFAULTS.log_format),
        log_level=_one_of(environ, variables.LOG_LEVEL, LOG_LEVELS, default=DEFAULTS.log_level),
    )


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


def _milliseconds(environ: Mapping[str, str], name: str, *, default: float, longest: float) -> float:
    """Return the seconds that a number of milliseconds, 1 or more, stands for."""
    return _whole_number(environ, name, default=round(default * 1000), low=1, high=round(longest * 1000)) / 1000.0


def _seconds(environ: Mapping[str, str], name: str, *, default: float, longest: float) -> float:
    text = environ.get(name, "")
    if not text:
        return default
    allowed = f"a number of seconds, 0 to {longest:,.0f}"
    try:
        number = float(text)
    except ValueError:
        _refuse(name, text, allowed)
    if not 0 <= number <= longest:
        _refuse(name, text, allowed)
    return number


def _truth(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    return _one_of(environ, name, ("true", "false"), default="true" if default else "false") == "true"


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...], *, default: str) -> str:
    value = environ.get(name, "") or default
    if value not in allowed:
        _refuse(name, value, " or ".join(allowed))
    return value
