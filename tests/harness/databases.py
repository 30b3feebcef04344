"""Fixtures: a server of each kind for the session, a fresh database for each test; and which test runs on which server.

Tests that take `server`, mostly by way of `queue`, are the conformance suite: they need nothing but a database. They
run on each server of `DEFAULT`; those marked ``every_server`` on the `OTHERS` too. `--servers` chooses the servers,
`--database-url` gives one instead.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hammerwork import JobQueue
from hammerwork.backends.mysql.backend import MysqlBackend
from hammerwork.backends.postgres import PostgresBackend
from tests.harness import observing
from tests.harness.servers import UnavailableServerError
from tests.harness.servers.given import GivenServer
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.mysql import mysql_server
from tests.harness.servers.pgbouncer import pgbouncer_server
from tests.harness.servers.postgres import postgres18_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hammerwork.backends.protocol import Backend
    from tests.harness.servers import Server
    from tests.harness.servers.mariadb import MariadbServer
    from tests.harness.servers.mysql import MysqlServer
    from tests.harness.servers.pgbouncer import PgbouncerServer
    from tests.harness.servers.postgres import PostgresServer

_BACKENDS: dict[str, type[Backend]] = {"postgresql": PostgresBackend, "mysql": MysqlBackend}
FAMILIES = {
    "postgres": "postgresql",
    "mariadb": "mysql",
    "mysql": "mysql",
    "postgres18": "postgresql",
    "pgbouncer": "postgresql",
}
"""All servers there are, and whose SQL they speak."""
DEFAULT = ("postgres", "mariadb")
OTHERS = ("mysql", "postgres18", "pgbouncer")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("database servers")
    group.addoption(
        "--servers",
        metavar="NAMES",
        help=f"run the conformance suite on these servers, separated by commas: {', '.join(FAMILIES)}; or all",
    )
    group.addoption(
        "--database-url",
        metavar="URL",
        help="run the conformance suite on this server and nothing else; its user must be allowed to create databases",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        _chosen(config)
        if url := config.getoption("--database-url"):
            GivenServer(url)
    except ValueError as error:
        raise pytest.UsageError(f"--database-url or --servers: {error}") from error


def run_on_servers(metafunc: pytest.Metafunc, default: tuple[str, ...] = DEFAULT) -> None:
    """Have the test run on each of the servers, if it takes `server`: for the `pytest_generate_tests` of a suite.

    Without `--servers` these are the suite's `default`, those that the mark ``also_on`` names, and, with the mark
    ``every_server``, `OTHERS`.
    """
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", _servers(metafunc, default), indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--database-url"):
        return
    own = pytest.mark.skip(reason="--database-url: the test stops and starts a server of its own")
    administrator = pytest.mark.skip(reason="--database-url: the test needs an administrator of the server")
    kept, left_out = [], []
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("own_server") or "own_server" in fixtures:
            item.add_marker(own)
        elif item.get_closest_marker("administrator"):
            item.add_marker(administrator)
        elif "server" not in fixtures:
            left_out.append(item)
            continue
        kept.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def _chosen(config: pytest.Config) -> tuple[str, ...] | None:
    """Return the names given with `--servers`."""
    given = config.getoption("--servers")
    if given is None:
        return None
    names = tuple(FAMILIES) if given == "all" else tuple(given.split(","))
    for name in names:
        if name not in FAMILIES:
            raise ValueError(f"{name!r} is no server; there are {', '.join(FAMILIES)}, and all")
    return names


def _servers(metafunc: pytest.Metafunc, default: tuple[str, ...]) -> list[Any]:
    test = metafunc.definition
    if url := metafunc.config.getoption("--database-url"):
        reason = _unfit(test, "given", GivenServer(url).family)
        return [pytest.param("given", marks=[pytest.mark.skip(reason=reason)] if reason else [])]
    names = _chosen(metafunc.config)
    if names is None:
        also = test.get_closest_marker("also_on")
        names = default + (OTHERS if test.get_closest_marker("every_server") else ()) + (also.args if also else ())
    reasons = {name: _unfit(test, name, FAMILIES[name]) for name in names}
    fitting = [name for name, reason in reasons.items() if reason is None]
    if not fitting:
        return [pytest.param(names[0], marks=pytest.mark.skip(reason=f"--servers: {reasons[names[0]]}"))]
    return fitting[:1] if test.get_closest_marker("one_server") else fitting


def _unfit(test: pytest.Item | pytest.Function, server: str, family: str) -> str | None:
    """Return why a test does not run on a server, if so."""
    only = test.get_closest_marker("only")
    if only is not None and only.args[0] not in {server, family}:
        return f"a test of {only.args[0]} only"
    if only is not None and server == only.kwargs.get("but"):
        return f"a test of {only.args[0]} without {server}"
    for marker in test.iter_markers("capability"):
        for name, wanted in marker.kwargs.items():
            if getattr(_BACKENDS[family].capabilities, name) is not wanted:
                return f"a test of databases with the capability {name}={wanted}"
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresServer]:
    try:
        with postgres18_server() as server:
            yield server
    except UnavailableServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgbouncerServer]:
    try:
        with pgbouncer_server(postgres) as server:
            yield server
    except UnavailableServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    with mariadb_server() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[MysqlServer]:
    try:
        with mysql_server() as server:
            yield server
    except UnavailableServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def given(request: pytest.FixtureRequest) -> Server:
    return GivenServer(request.config.getoption("--database-url"))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """A database server of each kind, one after the other; see `run_on_servers`."""
    found: Server = request.getfixturevalue(request.param)
    return found


@contextlib.asynccontextmanager
async def empty_database(server: Server) -> AsyncIterator[str]:
    """Yield the URL of an empty database that lasts as long as the block."""
    name = f"test_{uuid.uuid4().hex}"
    async with observing.sql(server.url()) as connection:
        await connection.run(f"CREATE DATABASE {name}")
        yield server.url(name)
        if server.family == "postgresql":
            # A pooler may just be opening a session, for a client that has got another one meanwhile.
            await connection.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            # Not FORCE, which must be allowed to end autovacuum's process too; without it the server ends that itself.
            await connection.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
                name,
            )
        await connection.run(f"DROP DATABASE {name}")


@pytest.fixture
async def database_url(server: Server) -> AsyncIterator[str]:
    """URL of an empty database."""
    async with empty_database(server) as url:
        yield url


@pytest.fixture
async def other_database_url(server: Server) -> AsyncIterator[str]:
    """URL of a second empty database on the same server."""
    async with empty_database(server) as url:
        yield url


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[JobQueue]:
    """A queue with its tables."""
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        yield queue


@pytest.fixture
async def notifications(database_url: str) -> None:
    """Skips the test where a pool is between us and the server: a notification finds nobody there who listens."""
    connection = await asyncpg.connect(database_url)
    try:
        # The process that was announced at connect; a pool gives another one to each transaction.
        pooled = connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()")
    finally:
        await connection.close()
    if pooled:
        pytest.skip("there is a pool of sessions before the server, it does not pass on notifications")


@pytest.fixture
async def sql(queue: JobQueue, database_url: str) -> AsyncIterator[observing.Sql]:  # noqa: ARG001 (its tables are needed)
    """SQL in the database of `queue`."""
    async with observing.sql(database_url) as connection:
        yield connection
