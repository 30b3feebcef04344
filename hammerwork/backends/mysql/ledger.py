"""The ledger of migrations: what is there, and which versions may work with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymysql.err import MySQLError

from hammerwork.backends.migrating import Applied, refuse_outdated

if TYPE_CHECKING:
    from hammerwork.backends.mysql.connection import Connection, Database

_COLUMNS = b"""
SELECT column_name AS name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'hammerwork_migrations'
"""
_LEDGER = b"SELECT name, version, least, checksum FROM hammerwork_migrations WHERE name <> ''"
_NEWEST = b"SELECT MAX(least) AS least, MAX(version) AS version FROM hammerwork_migrations"

_UNREADABLE = {
    1146,  # no such table
    1054,  # no such column
    1142,  # no right to the table
    1143,  # no right to the column
}


async def ledger_columns(database: Database) -> list[str] | None:
    """Return the names of the ledger's columns; None: there is no ledger."""
    (columns,) = await database.run(_COLUMNS)
    return [row["name"].lower() for row in columns] or None


async def read_ledger(database: Database) -> dict[str, Applied]:
    """Return the rows of the ledger by the names of the texts."""
    (found,) = await database.run(_LEDGER)
    return {row["name"]: Applied(version=row["version"], least=row["least"], checksum=row["checksum"]) for row in found}


async def check_version(connection: Connection, address: str) -> None:
    """Raise `IncompatibleDatabaseError` if only newer versions may work on the database.

    Without tables, with tables of before the ledger told, or without the right to read it, nothing is known against it.
    """
    try:
        ((row,),) = await connection.run(_NEWEST)
    except MySQLError as error:
        if error.args[0] not in _UNREADABLE:
            raise
        return
    refuse_outdated(address, row["least"], newest=row["version"])
