"""Creates the tables and functions, or brings old ones up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork.backends import migrating
from hammerwork.backends.migrating import FUNCTIONS, VERSION, Wanted, missing, old_tables
from hammerwork.backends.postgres.ledger import ledger_columns, read_ledger
from hammerwork.backends.postgres.refusals import translated
from hammerwork.backends.postgres.statements import PACKAGE
from hammerwork.backends.sql import list_sql, read_preamble, read_sql

if TYPE_CHECKING:
    from hammerwork.backends.postgres.connection import Database

_LOCK = 0x68616D6D65720001
"""Key of the transaction-scoped advisory lock that lets one migration run at a time ("hammer", 1)."""

_LOCK_NOT_AVAILABLE = "55P03"

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS hammerwork_migrations (
    name text PRIMARY KEY, version integer NOT NULL, least integer NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now())
"""
_RECORD = """
INSERT INTO hammerwork_migrations (name, version, least, checksum) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE
    SET version = excluded.version, least = excluded.least, checksum = excluded.checksum, applied_at = now()
"""


async def migrate(database: Database, *, version: int = VERSION) -> None:
    """Apply the migrations that are missing, each once and in order, then the functions unless they are newer."""
    wanted = [Wanted(path, read_sql(PACKAGE, path)) for path in list_sql(PACKAGE, "migrations")]
    wanted.append(Wanted(FUNCTIONS, "".join(read_preamble(PACKAGE, path) for path in list_sql(PACKAGE, "sql"))))
    async with database.connection() as connection:
        columns = await ledger_columns(connection)
        if columns is not None:
            if "least" not in columns:
                raise old_tables(database.address)
            if not missing(database.address, wanted, await read_ledger(connection), version=version):
                return
    await migrating.in_turns(lambda: _apply(database, wanted, version), locked=_LOCK_NOT_AVAILABLE)


async def _apply(database: Database, wanted: list[Wanted], version: int) -> None:
    """Apply what is missing in one transaction, on a connection whose statements may take long."""
    connection = await database.dedicated_connection()
    try:
        with translated(database.address, database.url):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{migrating.LOCK_SECONDS}s'")
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await connection.execute(_CREATE_LEDGER)
                # Functions are created in the order of the files; one may call another that comes later.
                await connection.execute("SET LOCAL check_function_bodies = off")
                for text in missing(database.address, wanted, await read_ledger(connection), version=version):
                    await connection.execute(text.text)
                    await connection.execute(_RECORD, text.name, version, text.least, text.checksum)
    finally:
        connection.terminate()
