"""The ledger of migrations: what is there, and which versions may work with it."""

from __future__ import annotations

from typing import Any

import asyncpg

from hammerwork.backends.migrating import Applied, refuse_outdated
from hammerwork.timing import EXCHANGE_SECONDS

_COLUMNS = """
SELECT array_agg(attname::text) FROM pg_attribute
WHERE attrelid = to_regclass('hammerwork_migrations') AND attnum > 0 AND NOT attisdropped
"""
_LEDGER = "SELECT name, version, least, checksum FROM hammerwork_migrations"
_NEWEST = "SELECT max(least) AS least, max(version) AS version FROM hammerwork_migrations"

_UNREADABLE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)


async def ledger_columns(connection: Any) -> list[str] | None:
    """Return the names of the ledger's columns; None: there is no ledger."""
    return await connection.fetchval(_COLUMNS)  # type: ignore[no-any-return]


async def read_ledger(connection: Any) -> dict[str, Applied]:
    """Return the rows of the ledger by the names of the texts."""
    return {
        row["name"]: Applied(version=row["version"], least=row["least"], checksum=row["checksum"])
        for row in await connection.fetch(_LEDGER)
    }


async def check_version(connection: Any, address: str) -> None:
    """Raise `IncompatibleDatabaseError` if only newer versions may work on the database.

    Without tables, with tables of before the ledger told, or without the right to read it, nothing is known against it.
    """
    try:
        row = await connection.fetchrow(_NEWEST, timeout=EXCHANGE_SECONDS)
    except _UNREADABLE:
        return
    refuse_outdated(address, row["least"], newest=row["version"])
