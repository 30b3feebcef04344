"""Creates the tables, or brings old ones up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymysql.err import MySQLError

from hammerwork.backends import migrating
from hammerwork.backends.migrating import VERSION, Wanted, missing, old_tables
from hammerwork.backends.mysql.ledger import ledger_columns, read_ledger
from hammerwork.backends.mysql.statements import PACKAGE, literal
from hammerwork.backends.sql import list_sql, read_sql

if TYPE_CHECKING:
    from hammerwork.backends.mysql.connection import Connection, Database

_CREATE_LEDGER = b"""
CREATE TABLE IF NOT EXISTS hammerwork_migrations (
    name VARCHAR(255) NOT NULL PRIMARY KEY, version INT NOT NULL, least INT NOT NULL, checksum VARCHAR(64) NOT NULL,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO hammerwork_migrations (name, version, least, checksum, applied_at)
SELECT '', 0, 0, '', UTC_TIMESTAMP(6) FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM hammerwork_migrations WHERE name = '')
ON DUPLICATE KEY UPDATE name = hammerwork_migrations.name
"""
"""The row without a name is the lock that lets one migration run at a time; where it is, nothing waits for it here."""
_LOCK_LEDGER = b"START TRANSACTION; SELECT checksum FROM hammerwork_migrations WHERE name = '' FOR UPDATE"
_RECORD = b"""
INSERT INTO hammerwork_migrations (name, version, least, checksum, applied_at) VALUES (%b, %b, %b, %b, UTC_TIMESTAMP(6))
"""

_TABLE_EXISTS = 1050
_LOCK_WAIT_TIMEOUT = 1205


async def migrate(database: Database, *, version: int = VERSION) -> None:
    """Apply the migrations that are missing, each once and in order."""
    wanted = [Wanted(path, read_sql(PACKAGE, path)) for path in list_sql(PACKAGE, "migrations")]
    columns = await ledger_columns(database)
    if columns is not None:
        if "least" not in columns:
            raise old_tables(database.address)
        if not missing(database.address, wanted, await read_ledger(database), version=version):
            return
    await migrating.in_turns(lambda: _apply(database, wanted, version), locked=_LOCK_WAIT_TIMEOUT)


async def _apply(database: Database, wanted: list[Wanted], version: int) -> None:
    """Apply what is missing. A text that met a lock starts over; what it has done already it leaves alone.

    DDL commits by itself and lets go of all locks of its session, so one session holds the lock while another works.
    """
    await database.run(_CREATE_LEDGER)
    async with database.dedicated_connection() as lock, database.dedicated_connection() as connection:
        await lock.run(_LOCK_LEDGER)
        for text in missing(database.address, wanted, await read_ledger(database), version=version):
            await _run(connection, text.text.encode())
            await connection.run(_RECORD % tuple(map(literal, (text.name, version, text.least, text.checksum))))
        await lock.run(b"COMMIT")


async def _run(connection: Connection, text: bytes) -> None:
    try:
        await connection.run(text)
    except MySQLError as error:
        if error.args[0] != _TABLE_EXISTS:  # the view, which is the last statement
            raise
