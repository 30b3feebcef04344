"""Fixtures: a fresh database on a server of each kind."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.chaos.servers import BACKENDS, server
from tests.harness.observing import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.servers import Server


@pytest.fixture(scope="session", params=BACKENDS)
def target(request: pytest.FixtureRequest) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(server(request.param))


@pytest.fixture
async def database_url(target: Server) -> str:
    name = f"test_{uuid.uuid4().hex}"
    async with sql(target.url()) as connection:
        await connection.run(f"CREATE DATABASE {name}")
    return target.url(name)
