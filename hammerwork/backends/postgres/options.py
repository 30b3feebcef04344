"""What of a URL asyncpg is told, and how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hammerwork.errors import DatabaseRefusedError, UnsupportedDatabaseError

if TYPE_CHECKING:
    from hammerwork.backends.urls import DatabaseURL

Options = dict[str, Any]

_OF_THE_DRIVER = ("statement_cache_size", "max_cached_statement_lifetime")
"""Options of asyncpg itself, which would send them to the server if it found them in the URL."""
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def connection_options(url: DatabaseURL) -> Options:
    """Return the arguments for asyncpg's `connect`.

    User and hosts go beside the URL, not in it: the driver reads URLs in its own way and shows parts of them.

    Raises:
        UnsupportedDatabaseError: An option has an impossible value.
        DatabaseRefusedError: A file that an option names cannot be read.
    """
    query = dict(url.options)
    options: Options = {name: _whole_number(name, query.pop(name)) for name in _OF_THE_DRIVER if name in query}
    for name in _FILES:
        if name in query and not os.access(query[name], os.R_OK):
            there = "cannot be read" if Path(query[name]).exists() else "does not exist"
            raise DatabaseRefusedError(f"database URL: option {name}: file {query[name]!r} {there}")
    options["dsn"] = f"postgresql://?{urlencode(query)}" if query else "postgresql://"
    if url.user is not None:
        options["user"] = url.user
    if url.password is not None:
        options["password"] = url.password
    if url.database:
        options["database"] = url.database
    if url.hosts:
        options["host"] = [host or "localhost" for host, _ in url.hosts]
        if any(port is not None for _, port in url.hosts):
            options["port"] = [port or 5432 for _, port in url.hosts]
    return options


def _whole_number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise UnsupportedDatabaseError(f"database URL: option {name}: {value!r} must be a whole number, 0 or more")
    return int(value)
