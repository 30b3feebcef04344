"""Settings from environment variables: readers for each type. An error names the variable and what it may hold.

A variable that is not set, or is empty, means the default. Spaces around a value do not count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from hammerwork.errors import HammerworkError
from hammerwork.service import logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SettingError(HammerworkError, ValueError):
    """An environment variable is missing or holds something that it must not."""


def refuse(name: str, value: str, allowed: str) -> NoReturn:
    """Raise the `SettingError` of a variable whose value is none of what is allowed."""
    raise SettingError(f"{name}: {value!r}, must be {allowed}")


def text(environ: Mapping[str, str], name: str, *, default: str = "") -> str:
    """Return any text."""
    return environ.get(name, "").strip() or default


def required(environ: Mapping[str, str], name: str, meaning: str) -> str:
    """Return any text that is not empty; the error says that it must be `meaning`."""
    value = text(environ, name)
    if not value:
        raise SettingError(f"{name}: not set, must be {meaning}")
    return value


def whole_number(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """Return a number without sign or fraction, `low` to `high`."""
    value = text(environ, name)
    if not value:
        return default
    if not re.fullmatch("[0-9]{1,18}", value) or not low <= int(value) <= high:
        refuse(name, value, f"a whole number, {low} to {high:,}")
    return int(value)


def milliseconds(environ: Mapping[str, str], name: str, *, default: float, longest: float) -> float:
    """Return the seconds that a number of milliseconds, 1 or more, stands for; so are `default` and `longest` given."""
    return whole_number(environ, name, default=round(default * 1000), low=1, high=round(longest * 1000)) / 1000.0


def seconds(environ: Mapping[str, str], name: str, *, default: float, longest: float) -> float:
    """Return a number of seconds, 0 to `longest`."""
    value = text(environ, name)
    if not value:
        return default
    allowed = f"a number of seconds, 0 to {longest:,.0f}"
    try:
        number = float(value)
    except ValueError:
        refuse(name, value, allowed)
    if not 0 <= number <= longest:
        refuse(name, value, allowed)
    return number


def truth(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Return whether it is ``true``; anything but ``true`` and ``false`` is refused."""
    return one_of(environ, name, ("true", "false"), default="true" if default else "false") == "true"


def one_of(environ: Mapping[str, str], name: str, allowed: Sequence[str], *, default: str) -> str:
    """Return one of the texts in `allowed`."""
    value = text(environ, name, default=default)
    if value not in allowed:
        _refuse_of(name, value, allowed)
    return value


def port(environ: Mapping[str, str], name: str, *, default: int) -> int:
    """Return the number of a port; 0 stands for any that is free."""
    return whole_number(environ, name, default=default, low=0, high=65_535)


def log_level(environ: Mapping[str, str], name: str, *, default: str) -> str:
    """Return one of `logs.LEVELS`, which may be spelled in any case."""
    value = text(environ, name, default=default)
    if value.upper() not in logs.LEVELS:
        _refuse_of(name, value, logs.LEVELS)
    return value.upper()


def log_format(environ: Mapping[str, str], name: str, *, default: str) -> str:
    """Return one of `logs.FORMATS`."""
    return one_of(environ, name, logs.FORMATS, default=default)


def _refuse_of(name: str, value: str, allowed: Sequence[str]) -> NoReturn:
    refuse(name, value, f"{', '.join(allowed[:-1])} or {allowed[-1]}")
