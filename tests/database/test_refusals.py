"""What a server or a database refuses for good: one line that names the database, the object and the right; exit 2."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hammerwork import (
    DatabaseError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    HammerworkError,
    JobQueue,
    UnsupportedDatabaseError,
)
from hammerwork.backends.mysql import refusals as mysql
from hammerwork.backends.postgres import refusals as postgres
from hammerwork.backends.urls import parse_url
from tests.harness import observing
from tests.harness.observing import direct_postgres, only_postgres
from tests.harness.servers.mariadb import mariadb_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HAMMERWORK = str(Path(sys.executable).with_name("hammerwork"))


async def refused(url: str, *arguments: str) -> str:
    """Run a command that has to end with 2 and one line; return the line."""
    process = await asyncio.create_subprocess_exec(
        HAMMERWORK,
        *arguments,
        env={**os.environ, "HAMMERWORK_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    lines = (out + err).decode().splitlines()
    assert (process.returncode, len(lines)) == (2, 1), lines
    return lines[0]


def as_app(url: str) -> str:
    return url.replace("postgres@", "app:Geheim42@").replace("root@", "app:Geheim42@")


@pytest.fixture
async def app_url(database_url: str) -> AsyncIterator[str]:
    """URL of an empty database for a user without any right."""
    host = "'127.0.0.1'"
    async with observing.sql(database_url) as sql:
        if database_url.startswith("postgres"):
            await sql.run("CREATE ROLE app LOGIN PASSWORD 'Geheim42'")
        else:
            await sql.run(f"CREATE USER app@{host} IDENTIFIED BY 'Geheim42'")
    yield as_app(database_url)
    async with observing.sql(database_url) as sql:
        if database_url.startswith("postgres"):
            await sql.run("DROP OWNED BY app")
            await sql.run("DROP ROLE app")
        else:
            await sql.run(f"DROP USER app@{host}")


# -- rights


@direct_postgres
async def test_no_right_to_make_tables(app_url: str) -> None:
    line = await refused(app_url, "migrate")
    assert line.startswith(f"Error: database {parse_url(app_url).address()}: permission denied for schema public")
    assert "USAGE and CREATE on the schema" in line


@direct_postgres
async def test_no_right_to_read_a_table(app_url: str, queue: JobQueue) -> None:  # noqa: ARG001 (its tables)
    line = await refused(app_url, "batches")
    assert f"database {parse_url(app_url).address()}: permission denied for table hammerwork_" in line
    assert "SELECT, INSERT, UPDATE, DELETE on all tables of hammerwork" in line
    assert "permission denied for table hammerwork_" in await refused(app_url, "status", str(uuid.uuid4()))


@direct_postgres
async def test_a_schema_that_is_missing(database_url: str) -> None:
    line = await refused(f"{database_url}?search_path=nowhere", "migrate")
    assert "no schema has been selected to create in; needed: a schema in search_path" in line


@pytest.mark.only("mariadb")
async def test_rights_that_are_missing_are_named_by_mariadb(app_url: str, database_url: str) -> None:
    name = f"own_{uuid.uuid4().hex}"  # what is called test_… is everybody's
    base, _, shared = app_url.rpartition("/")
    url = f"{base}/{name}"
    async with observing.sql(database_url) as sql:
        await sql.run(f"CREATE DATABASE {name}")
        try:
            assert f"Access denied for user 'app'@'127.0.0.1' to database '{name}'" in await refused(url, "migrate")
            async with await JobQueue.connect(database_url.replace(shared, name)) as queue:
                await queue.create_tables()
            await sql.run(f"GRANT INSERT ON {name}.hammerwork_workers TO app@'127.0.0.1'")
            line = await refused(url, "batches")
            assert "SELECT command denied to user 'app'@" in line
            assert "hammerwork_batches" in line
        finally:
            await sql.run(f"DROP DATABASE {name}")


# -- options, users, certificates


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("?nothing_of_this_name=1", 'unrecognized configuration parameter "nothing_of_this_name"'),
        ("?sslmode=perhaps", "`sslmode` parameter must be one of"),
        ("?sslmode=verify-full&sslrootcert=/nowhere.pem", "file '/nowhere.pem' does not exist"),
        ("?sslmode=require", "the server offers no TLS, which the sslmode of the URL requires"),
        ("_no_such_database", "does not exist"),
    ],
)
@direct_postgres
async def test_options_and_databases_that_do_not_exist(database_url: str, rest: str, says: str) -> None:
    assert says in await refused(database_url + rest, "batches")


@direct_postgres
async def test_a_user_that_does_not_exist(database_url: str) -> None:
    assert 'role "nobody" does not exist' in await refused(database_url.replace("postgres@", "nobody:Geheim@"), "depth")


@pytest.mark.only("mariadb")
async def test_a_wrong_password(app_url: str) -> None:
    line = await refused(app_url.replace("Geheim42", "Falsch42"), "depth")
    assert "Access denied for user 'app'" in line
    assert "Falsch" not in line


@pytest.mark.parametrize("program", ["container", "processes", "run"])
async def test_programs_that_work_on_it_end_too(database_url: str, tmp_path: Path, program: str) -> None:
    url = f"{database_url}_other"
    (tmp_path / "handlers.py").write_text("async def run(job):\n    pass\n")
    (tmp_path / "batch.yaml").write_text(
        "{apiVersion: hammerwork.io/v1alpha1, kind: JobBatch, metadata: {name: b},\n"
        " spec: {queue: q, jobs: [{payload: 1}]}}\n"
        "---\n"
        "{apiVersion: hammerwork.io/v1alpha1, kind: WorkerPool, metadata: {name: w},\n"
        " spec: {queue: q, handler: {python: {function: 'handlers.py:run'}}}}\n"
    )
    commands = {
        "container": (sys.executable, "-m", "hammerwork_worker"),
        "processes": (HAMMERWORK, "worker", "--queue", "q", "--handler", "handlers.py:run"),
        "run": (HAMMERWORK, "run", "batch.yaml", "--database-url", url),
    }
    settings = {"HAMMERWORK_QUEUE": "q", "HAMMERWORK_HANDLER": "handlers.py:run", "HAMMERWORK_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *commands[program],
        cwd=tmp_path,
        env={**os.environ, **settings, "HAMMERWORK_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    lines = [line for line in said.decode().splitlines() if "_other" in line]
    assert (process.returncode, len(lines)) == (2, 1), said.decode()
    assert "Traceback" not in said.decode()


async def test_an_unreachable_server_may_come_back(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await JobQueue.connect(f"{parse_url(database_url).scheme}://app:Geheim@127.0.0.1:1/x", connect_timeout=5)


# -- kinds of databases


@direct_postgres
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_is_not_utf8(database_url: str, encoding: str) -> None:
    name = f"test_{uuid.uuid4().hex}"
    async with observing.sql(database_url) as sql:
        await sql.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            url = database_url.rpartition("/")[0] + f"/{name}"
            with pytest.raises(UnsupportedDatabaseError, match=f"/{name}: its encoding is {encoding}"):
                await JobQueue.connect(url)
            assert "its encoding is" in await refused(url, "migrate")
        finally:
            await sql.run(f"DROP DATABASE {name}")


@direct_postgres
async def test_a_server_that_only_speaks_the_protocol_is_refused_before_any_table(database_url: str) -> None:
    async with observing.sql(database_url) as sql:
        await sql.run("CREATE SCHEMA other")
        await sql.run(
            "CREATE FUNCTION other.version() RETURNS text LANGUAGE sql AS "
            "$$SELECT 'CockroachDB CCL v23.1.0 (x86_64-unknown-linux-gnu, built 2023/05/15 18:54:02, go1.19.4)'$$"
        )
        line = await refused(f"{database_url}?search_path=other,pg_catalog", "migrate")
        assert "the server is CockroachDB, which is not supported; use PostgreSQL" in line
        assert await sql.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'hammerwork%'") == 0


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("8.0.11-TiDB-v7.5.2-serverless", "the server is TiDB, which is not supported; use MySQL or MariaDB"),
        ("10.5.23-MariaDB", r"the server is MariaDB 10\.5\.23; MariaDB 10\.6\.0 or later is needed"),
    ],
)
async def test_a_server_of_another_kind_or_too_old_is_refused(version: str, says: str) -> None:
    with mariadb_server({"version": version}) as server:
        with pytest.raises(UnsupportedDatabaseError, match=says):
            await JobQueue.connect(server.url())
        async with observing.sql(server.url()) as sql:
            assert await sql.rows("SHOW TABLES") == []


# -- whatever a driver raises


@pytest.mark.parametrize("translated", [postgres.translated, mysql.translated])
def test_errors_of_our_own_pass(translated: Any) -> None:
    url = parse_url("postgresql://app:Geheim@h/db")
    for kind in (TypeError, ValueError, KeyError, AssertionError):
        with pytest.raises(kind, match="ours"), translated("h", url):
            raise kind("ours")
    with pytest.raises(HammerworkError, match="ours"), translated("h", url):
        raise HammerworkError("ours")


@only_postgres
async def test_what_the_driver_cannot_send_or_the_server_does_not_understand(queue: JobQueue) -> None:
    database = queue.backend._database  # type: ignore[attr-defined]
    for query, values in [
        ("SELECT $1::int", ("text",)),
        ("SELECT $1::text", ("\ud800",)),
        ("SELECT $1::text", ("\0",)),
        ("SELECT 1/0", ()),
        ("nonsense", ()),
        ("SELECT $1::uuid", (1,)),
    ]:
        with pytest.raises(DatabaseError, match="database postgresql://") as caught:
            async with database.connection() as connection:
                await connection.fetchval(query, *values)
        assert caught.value.__cause__ is not None
        assert not isinstance(caught.value, DatabaseUnavailableError)
    await queue.ping()


@pytest.mark.only("mariadb")
async def test_what_the_server_does_not_understand(queue: JobQueue) -> None:
    database = queue.backend._database  # type: ignore[attr-defined]
    for text in (b"nonsense", b"SELECT * FROM nowhere.nothing", b"CALL nothing()", b"SELECT 1; nonsense"):
        with pytest.raises(DatabaseError, match="database mysql://") as caught:
            await database.run(text)
        assert caught.value.__cause__ is not None
    await queue.ping()


def test_a_pooler_that_loses_prepared_statements_is_recognised() -> None:
    url = parse_url("postgresql://app:Geheim@h/db")
    error = asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist')
    with pytest.raises(DatabaseRefusedError, match="statement_cache_size=0"), postgres.translated("h", url):
        raise error
