"""Databases of earlier versions are taken over, and what a version has put into a database keeps its shape.

`interfaces/` records each version: the checksum of each migration, and for PostgreSQL the signature of each function.
`python -m tests.database.test_upgrades URL` writes the record of the current version, on a database of its own.
"""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hammerwork import Job, JobBatch, JobQueue, Worker
from hammerwork.backends import mysql, postgres
from hammerwork.backends.migrating import FUNCTIONS, VERSION, Wanted
from hammerwork.backends.mysql import migrate as mysql_migrate
from hammerwork.backends.postgres import migrate as postgres_migrate
from hammerwork.backends.sql import list_sql, read_sql
from hammerwork.errors import DatabaseRefusedError
from tests.harness import observing
from tests.harness.observing import Sql, finished, running, with_functions
from tests.harness.servers.pgbouncer import PgbouncerServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.harness.servers import Server

RECORDS = Path(__file__).with_name("interfaces")
PACKAGES = {"postgresql": postgres.__name__, "mysql": mysql.__name__}
EARLIER = range(1, VERSION)

_SIGNATURES = """
SELECT proname || '(' || pg_get_function_arguments(oid) || ')', pg_get_function_result(oid) FROM pg_proc
WHERE left(proname, 11) = 'hammerwork_' ORDER BY 1
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
WHERE left(table_name, 11) = 'hammerwork_' AND table_schema = {schema} ORDER BY 1, 2
"""
_INDEXES = {
    "postgresql": "SELECT indexdef FROM pg_indexes WHERE left(tablename, 11) = 'hammerwork_' ORDER BY 1",
    "mysql": """
        SELECT table_name, index_name, seq_in_index, column_name FROM information_schema.statistics
        WHERE left(table_name, 11) = 'hammerwork_' AND table_schema = DATABASE() ORDER BY 1, 2, 3
    """,
}


def migrations(family: str) -> dict[str, Wanted]:
    package = PACKAGES[family]
    return {path: Wanted(path, read_sql(package, path)) for path in list_sql(package, "migrations")}


def family_of(url: str) -> str:
    return "postgresql" if url.startswith("postgres") else "mysql"


async def signatures(sql: Sql) -> dict[str, str]:
    """Return what each function returns, by its name and arguments."""
    return dict(await sql.rows(_SIGNATURES))


def recorded(family: str, version: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the checksums of a version's migrations, and its functions with what they return."""
    checksums, functions = {}, {}
    for line in (RECORDS / f"{family}_{version}.txt").read_text().splitlines():
        kind, rest = line.split(" ", 1)
        if kind == "migration":
            name, checksum = rest.split(" ")
            checksums[name] = checksum
        else:
            signature, result = rest.split(" -> ")
            functions[signature] = result
    return checksums, functions


def record(family: str, functions: Mapping[str, str]) -> str:
    """Return the record of the current version."""
    lines = [f"migration {name} {wanted.checksum}" for name, wanted in migrations(family).items()]
    lines += [f"function {signature} -> {result}" for signature, result in functions.items()]
    return "".join(f"{line}\n" for line in lines)


def name_of(signature: str) -> str:
    return signature.partition("(")[0]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
@pytest.mark.parametrize("family", PACKAGES)
def test_a_migration_is_never_changed(family: str, version: int) -> None:
    """It has been applied somewhere, and is not applied there again: a change is a migration of its own."""
    then, _ = recorded(family, version)
    now = migrations(family)
    assert then == {name: now[name].checksum for name in then}
    if version == VERSION:
        assert list(then) == list(now), "a new migration is a new version"


@with_functions
async def test_a_function_keeps_its_signature(queue: JobQueue, sql: Sql) -> None:  # noqa: ARG001 (its functions)
    """PostgreSQL replaces no function by one that returns something else, and keeps both if the arguments differ."""
    now = await signatures(sql)
    least = max(wanted.least for wanted in migrations("postgresql").values())
    for version in range(least, VERSION + 1):
        _, then = recorded("postgresql", version)
        names = {name_of(signature) for signature in then}
        kept = {signature: result for signature, result in now.items() if name_of(signature) in names}
        assert kept == then, f"version {version}: what has changed needs a name, or a number, of its own"
    assert now == recorded("postgresql", VERSION)[1], "a new function is a new version"


async def create_tables_of(version: int, queue: JobQueue, family: str) -> None:
    """Put a version's tables into the database, and functions with its signatures that do nothing."""
    checksums, functions = recorded(family, version)
    wanted = [migrations(family)[name] for name in checksums]
    database = queue.backend._database  # type: ignore[attr-defined]
    if family == "mysql":
        await mysql_migrate._apply(database, wanted, version)
        return
    stubs = [
        f"CREATE FUNCTION {signature} RETURNS {result} LANGUAGE plpgsql AS 'BEGIN END';"
        for signature, result in functions.items()
    ]
    await postgres_migrate._apply(database, [*wanted, Wanted(FUNCTIONS, "\n".join(stubs))], version)


async def shape(sql: Sql, family: str) -> list[object]:
    """Return the tables and functions of a database."""
    schema = "DATABASE()" if family == "mysql" else "current_schema()"
    columns = await sql.rows(_COLUMNS.format(schema=schema))
    functions = await signatures(sql) if family == "postgresql" else {}
    assert columns
    return [columns, await sql.rows(_INDEXES[family]), functions]


@pytest.mark.every_server
@pytest.mark.parametrize("version", EARLIER)
async def test_a_database_of_an_earlier_version_is_taken_over(
    version: int, database_url: str, other_database_url: str
) -> None:
    family = family_of(database_url)
    async with await JobQueue.connect(database_url) as queue:
        await create_tables_of(version, queue, family)
    await work_on(database_url)
    async with await JobQueue.connect(other_database_url) as fresh:
        await fresh.create_tables()
    async with observing.sql(database_url) as taken, observing.sql(other_database_url) as made:
        assert await shape(taken, family) == await shape(made, family)


async def work_on(url: str) -> None:
    """Do what a program does that begins to work on a database: upgrade it where need be, enqueue, run, delete."""
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(10)))

        async def handler(_job: Job) -> None:
            pass

        async with running(Worker(queue, "q", handler)):
            assert (await finished(queue, batch_id)).completed_jobs == 10
        assert await queue.delete_batch(batch_id)


_ALTER_DENIED = {
    "postgresql": "must be owner of table hammerwork_chunks; needed: .* the user that migrates must own them",
    "mysql": "ALTER command denied to user .*hammerwork_chunks",
}


@pytest.fixture
async def shared(server: Server, database_url: str) -> AsyncIterator[tuple[str, str]]:
    """URLs of a database for its owner, and for a user who may create and use tables, but not alter the owner's."""
    if isinstance(server, PgbouncerServer):
        pytest.skip("the pooler knows its users from a file")
    family = family_of(database_url)
    base, _, name = database_url.rpartition("/")
    # Of MariaDB, what is called test_… is everybody's.
    own = name if family == "postgresql" else f"own_{uuid.uuid4().hex}"
    user = f"u{uuid.uuid4().hex[:12]}"
    before, after = _GRANTS[family]
    async with observing.sql(database_url) as sql:
        for statement in before:
            await sql.run(statement.format(name=own, user=user))
        try:
            owner = f"{base}/{own}"
            yield owner, re.sub("(postgres|root)@", f"{user}:Geheim42@", owner)
        finally:
            for statement in after:
                await sql.run(statement.format(name=own, user=user))


_GRANTS = {
    "postgresql": (
        (
            "CREATE ROLE {user} LOGIN PASSWORD 'Geheim42'",
            "GRANT CREATE ON SCHEMA public TO {user}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {user}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {user}",
        ),
        ("DROP OWNED BY {user}", "DROP ROLE {user}"),
    ),
    "mysql": (
        (
            "CREATE DATABASE {name}",
            "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'Geheim42'",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW ON {name}.* TO {user}@'127.0.0.1'",
        ),
        ("DROP DATABASE {name}", "DROP USER {user}@'127.0.0.1'"),
    ),
}
"""What makes the database and its second user, and what removes them."""


@pytest.mark.administrator
async def test_who_may_not_alter_tables_cannot_upgrade_them_and_works_once_that_is_done(
    shared: tuple[str, str],
) -> None:
    owner, app = shared
    family = family_of(owner)
    async with await JobQueue.connect(owner) as queue:
        await create_tables_of(1, queue, family)
    with pytest.raises(DatabaseRefusedError, match=_ALTER_DENIED[family]):
        await work_on(app)
    async with await JobQueue.connect(owner) as queue:
        await queue.create_tables()
    await work_on(app)


async def _record(url: str) -> None:
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
    family = family_of(url)
    async with observing.sql(url) as sql:
        functions = await signatures(sql) if family == "postgresql" else {}
    path = RECORDS / f"{family}_{VERSION}.txt"
    path.write_text(record(family, functions))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    asyncio.run(_record(sys.argv[1]))
