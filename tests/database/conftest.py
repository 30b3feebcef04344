"""Fixtures: one server for the session, a fresh database for each test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from hammerwork import JobQueue
from tests.database import observing
from tests.database.mariadb import MariadbServer, mariadb_server
from tests.database.postgres import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    with mariadb_server() as server:
        yield server


@pytest.fixture(scope="session", params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> PostgresServer | MariadbServer:
    """A database server of each kind, one after the other. Tests of one kind only are marked, see `observing`."""
    found: PostgresServer | MariadbServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def database_url(server: PostgresServer | MariadbServer) -> AsyncIterator[str]:
    """URL of an empty database."""
    name = f"test_{uuid.uuid4().hex}"
    async with observing.sql(server.url()) as connection:
        await connection.run(f"CREATE DATABASE {name}")
        yield server.url(name)
        await connection.run(f"DROP DATABASE {name} {'WITH (FORCE)' if isinstance(server, PostgresServer) else ''}")


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[JobQueue]:
    """A queue with its tables."""
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        yield queue


@pytest.fixture
async def sql(queue: JobQueue, database_url: str) -> AsyncIterator[observing.Sql]:  # noqa: ARG001 (its tables are needed)
    """SQL in the database of `queue`."""
    async with observing.sql(database_url) as connection:
        yield connection
