"""What aiomysql and PyMySQL raise, in our terms: whatever it is, it becomes a `DatabaseError`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pymysql.err import Error, InterfaceError

from hammerwork.backends.drivers import is_about_certificates, raised_by_driver, translating, words
from hammerwork.errors import DatabaseError, DatabaseRefusedError, DatabaseUnavailableError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hammerwork.backends.urls import DatabaseURL

DEADLOCK = 1213
ROLLED_BACK = {
    DEADLOCK,
    1205,  # lock wait timeout
    1020,  # the row has changed since it was read
}
OUTDATED = {
    1054,  # no such column
    1146,  # no such table
}
_READ_ONLY = {1290, 1792, 1836}  # as after a failover

_PASSING = {
    *(1040, 1203, 1226),  # too many connections, of all or of this user
    *(1042, 1043, 1047, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184),  # connection, shutdown
    *(1021, 1037, 1038, 1041, 1114, 1135, 1206),  # disk, memory, threads
    *(1180, 1317, 1927, 1969, 3024, 4031),  # no commit, killed, timed out
    *_READ_ONLY,
    *ROLLED_BACK,  # still, after all attempts
}
"""Server errors after which the same operation may succeed later."""

_LASTING = {
    *(1044, 1045, 1130, 1251, 1524, 1698, 1820, 1862, 3118, 3159, 4151),  # who may connect, and how
    *(1049, 1102),  # database
    *(1142, 1143, 1227, 1370, 1410, 1419),  # rights
    *(1115, 1193, 1231, 1238, 1273),  # character sets, variables
    *(2026, 2054, 2059, 2061),  # TLS, ways to log in
}
"""Errors that waiting does not cure."""


def translated(address: str, url: DatabaseURL) -> AbstractContextManager[None]:
    """Raise a `DatabaseError` for whatever the driver raises within the block; faults of other code pass."""
    return translating(address, url, judge=_judge, code=_code)


def is_read_only(error: BaseException) -> bool:
    """Return whether the server refused to write because it is, or has become, a replica."""
    return isinstance(error, Error) and _code(error) in _READ_ONLY


def is_passing(error: Error) -> bool:
    """Return whether the same operation may succeed later."""
    return issubclass(_judge_code(error, "")[0], DatabaseUnavailableError) and _code(error) not in OUTDATED


def _judge(error: Exception) -> tuple[type[DatabaseError] | None, str]:
    said = words(error)
    if error.__cause__ is not None and not isinstance(error.__cause__, asyncio.CancelledError):
        said = f"{said} ({words(error.__cause__)})"
    if is_about_certificates(error) or is_about_certificates(error.__cause__):
        return DatabaseRefusedError, said
    if isinstance(error, Error):
        return _judge_code(error, said)
    if isinstance(error, OSError):
        return DatabaseUnavailableError, said
    return (DatabaseError if raised_by_driver(error) else None), said


def _judge_code(error: Error, said: str) -> tuple[type[DatabaseError], str]:
    code = _code(error)
    if code in OUTDATED:
        # Whoever enqueues creates the tables; a worker that was there before waits for them.
        return (
            DatabaseUnavailableError,
            f"tables missing or out of date ({said}); run `hammerwork migrate` to create or upgrade them",
        )
    if code in _LASTING:
        return DatabaseRefusedError, said
    # Without a code: the driver's own complaints, such as "not connected"; from 2000: those of the client library.
    if isinstance(error, InterfaceError) or code is None or code in _PASSING or 2000 <= code < 3000:
        return DatabaseUnavailableError, said
    return DatabaseError, said


def _code(error: Exception) -> int | None:
    code = error.args[0] if isinstance(error, Error) and error.args else None
    return code if isinstance(code, int) else None
