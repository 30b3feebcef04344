"""What asyncpg raises, in our terms: whatever it is, it becomes a `DatabaseError`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import asyncpg

from hammerwork.backends.drivers import is_about_certificates, raised_by_driver, translating, words
from hammerwork.errors import DatabaseError, DatabaseRefusedError, DatabaseUnavailableError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hammerwork.backends.urls import DatabaseURL

_READ_ONLY = "25006"

_PASSING = (
    "08",  # connection
    "25P03",  # silent within a transaction
    "25P04",  # a transaction took too long
    "40",  # deadlock, serialization
    "53",  # connections, memory, disk
    "55006",  # in use
    "55P03",  # lock not available
    "57",  # shutting down, starting up, a statement cancelled by hand
    "58",  # the system's own errors
    _READ_ONLY,  # as after a failover
)
"""Beginnings of the codes after which the same operation may succeed later."""

OUTDATED = {"42P01", "42883", "42703"}  # no such table, function, column

_LASTING = (
    "0A",  # not supported
    "22023",  # the value of an option
    "28",  # who may connect
    "3D",  # database
    "3F",  # schema
    "42501",  # rights
    "42704",  # an option that does not exist
    "55P02",  # an option that cannot be changed now
    "F0",  # the server's configuration
)
"""Beginnings of the codes that waiting does not cure."""

_NO_TLS = "rejected SSL upgrade"
"""What the driver says of a server without TLS, in an error that has no code."""

_NO_STATEMENT = {"26000", "42P05"}
"""A pooler in transaction mode has sent a prepared statement to one session and its use to another."""

_DENIED = re.compile(r"for (schema|table|relation|view|sequence|function|database|language)\b")
_RIGHTS = {
    "schema": "USAGE and CREATE on the schema",
    "sequence": "USAGE on all sequences of hammerwork",
    "function": "EXECUTE on all functions of hammerwork",
    "database": "CONNECT on the database",
    "language": "USAGE on the language",
}
_TABLE_RIGHTS = "SELECT, INSERT, UPDATE, DELETE on all tables of hammerwork; the user that migrates must own them"


def translated(address: str, url: DatabaseURL) -> AbstractContextManager[None]:
    """Raise a `DatabaseError` for whatever the driver raises within the block; faults of other code pass."""
    return translating(address, url, judge=_judge, code=_code)


def is_read_only(error: BaseException) -> bool:
    """Return whether the server refused to write because it is, or has become, a replica."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _READ_ONLY


def _judge(error: Exception) -> tuple[type[DatabaseError] | None, str]:
    if isinstance(error, asyncpg.PostgresError):
        return _judge_code(error.sqlstate or "", words(error))
    said = words(error)
    if is_about_certificates(error) or isinstance(
        error, asyncpg.ClientConfigurationError | asyncpg.UnsupportedClientFeatureError
    ):
        return DatabaseRefusedError, said
    if isinstance(error, asyncpg.DataError):  # a value that the driver cannot send
        return DatabaseError, said
    if isinstance(error, ConnectionError) and _NO_TLS in said:
        return DatabaseRefusedError, "the server offers no TLS, which the sslmode of the URL requires"
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return DatabaseUnavailableError, said
    return (DatabaseError if raised_by_driver(error) else None), said


def _judge_code(code: str, said: str) -> tuple[type[DatabaseError], str]:
    if code in OUTDATED:
        # Whoever enqueues creates the tables; a worker that was there before waits for them.
        return (
            DatabaseUnavailableError,
            f"tables missing or out of date ({said}); run `hammerwork migrate` to create or upgrade them",
        )
    if code in _NO_STATEMENT:
        return (
            DatabaseRefusedError,
            f"{said}; behind a pooler in transaction mode, add statement_cache_size=0 to the URL",
        )
    if code.startswith(_PASSING):
        return DatabaseUnavailableError, said
    if code == "3F000":
        return DatabaseRefusedError, f"{said}; needed: a schema in search_path, with USAGE and CREATE on it"
    if code == "42501":
        found = _DENIED.search(said)
        return DatabaseRefusedError, f"{said}; needed: {_RIGHTS.get(found[1] if found else '', _TABLE_RIGHTS)}"
    return (DatabaseRefusedError if code.startswith(_LASTING) else DatabaseError), said


def _code(error: Exception) -> str | None:
    return getattr(error, "sqlstate", None)
