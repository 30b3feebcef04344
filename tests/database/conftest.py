"""Fixtures: one server for the session, a fresh database for each test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hammerwork import JobQueue
from tests.database import observing
from tests.database.postgres import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def database_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """URL of an empty database."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield postgres.url(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


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
