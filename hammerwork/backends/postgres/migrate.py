"""Creates the tables, or brings old ones up to date."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hammerwork.backends.sql import list_sql, read_sql

if TYPE_CHECKING:
    from hammerwork.backends.postgres.connection import Database

_PACKAGE = "hammerwork.backends.postgres"
_LOCK = 0x68616D6D65720001
"""Key of the transaction-scoped advisory lock that lets one migration run at a time ("hammer", 1)."""

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS hammerwork_migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""
_RECORD = """
INSERT INTO hammerwork_migrations (name, checksum) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = now()
"""


async def migrate(database: Database) -> None:
    """Apply the migrations that are missing, each once and in order, then the functions if they differ."""
    wanted = {path: _checksum(path) for path in (*list_sql(_PACKAGE, "migrations"), "functions.sql")}
    async with database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('hammerwork_migrations') IS NOT NULL"):
            done = dict(await connection.fetch("SELECT name, checksum FROM hammerwork_migrations"))
            if done.items() >= wanted.items():
                return
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_CREATE_LEDGER)
        done = dict(await connection.fetch("SELECT name, checksum FROM hammerwork_migrations"))
        for path, checksum in wanted.items():
            if path not in done or (path == "functions.sql" and done[path] != checksum):
                await connection.execute(read_sql(_PACKAGE, path))
                await connection.execute(_RECORD, path, checksum)


def _checksum(path: str) -> str:
    return hashlib.sha256(read_sql(_PACKAGE, path).encode()).hexdigest()
