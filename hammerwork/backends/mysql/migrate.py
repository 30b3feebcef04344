"""Creates the tables, or brings old ones up to date."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hammerwork.backends.mysql.statements import PACKAGE, literal
from hammerwork.backends.sql import list_sql, read_sql

if TYPE_CHECKING:
    from hammerwork.backends.mysql.connection import Database

_LOCK = ""
"""Name of the row whose lock lets one migration run at a time."""

_CREATE_LEDGER = b"""
CREATE TABLE IF NOT EXISTS hammerwork_migrations (
    name VARCHAR(255) NOT NULL PRIMARY KEY, checksum VARCHAR(64) NOT NULL, applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO hammerwork_migrations (name, checksum, applied_at) VALUES ('', '', UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE name = hammerwork_migrations.name
"""
_THERE = b"""
SELECT COUNT(*) AS tables FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'hammerwork_migrations'
"""
_LOCK_LEDGER = b"""
SET SESSION innodb_lock_wait_timeout = 3600;
START TRANSACTION; SELECT checksum FROM hammerwork_migrations WHERE name = '' FOR UPDATE
"""
_DONE = b"SELECT name FROM hammerwork_migrations"


async def migrate(database: Database) -> None:
    """Apply the migrations that are missing, each once and in order.

    DDL commits by itself and lets go of all locks of its session, so one session holds the lock while another works.
    """
    wanted = set(list_sql(PACKAGE, "migrations"))
    ((there,),) = await database.run(_THERE)
    if there["tables"] and wanted <= await _applied(database):
        return
    await database.run(_CREATE_LEDGER)
    async with database.dedicated_connection() as lock, database.dedicated_connection() as connection:
        await lock.run(_LOCK_LEDGER)
        for path in sorted(wanted - await _applied(database)):
            text = read_sql(PACKAGE, path)
            checksum = hashlib.sha256(text.encode()).hexdigest()
            await connection.run(text.encode())
            await connection.run(
                b"INSERT INTO hammerwork_migrations (name, checksum, applied_at) VALUES (%b, %b, UTC_TIMESTAMP(6))"
                % (literal(path), literal(checksum))
            )
        await lock.run(b"COMMIT")


async def _applied(database: Database) -> set[str]:
    (rows,) = await database.run(_DONE)
    return {row["name"] for row in rows}
