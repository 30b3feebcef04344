"""How often Secrets are read, and who is told of a change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hammerwork_operator.api.common import DatabaseSecretRef
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases import secrets
from hammerwork_operator.databases.secrets import SecretProblemError, Secrets
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.metrics import Metrics
from tests.harness.secrets import SecretServer
from tests.harness.waiting import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REF = DatabaseSecretRef()
URL = "postgresql://somewhere/database"


@pytest.fixture
def server() -> SecretServer:
    return SecretServer()


@pytest.fixture
async def known(server: SecretServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Secrets]:
    """Secrets that are read a hundred times as often as usual."""
    for name in ("SECONDS", "FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "FRESH_SECONDS", "TURN_SECONDS"):
        monkeypatch.setattr(secrets, name, getattr(secrets, name) / 100)
    found = Secrets(server, Metrics())
    yield found
    await found.stop()


async def reason(known: Secrets) -> Reason | None:
    try:
        await known.read("mail", REF)
    except SecretProblemError as error:
        return error.obstacle.reason
    return None


async def test_two_hundred_objects_that_wait_for_a_secret_make_one_read(server: SecretServer) -> None:
    told: list[int] = []
    now = 0.0
    known = Secrets(server, Metrics(), lambda: now)
    for number in range(200):
        known.follow("mail", REF.name, number, lambda number=number: told.append(number))  # type: ignore[misc]
    assert await asyncio.gather(*(reason(known) for _ in range(200))) == [Reason.SECRET_NOT_FOUND] * 200
    assert server.reads == 1
    server.url = URL
    now += secrets.LONGEST_PAUSE_SECONDS
    await known.turn()
    assert len(told) == 200
    assert await asyncio.gather(*(known.read("mail", REF) for _ in range(200)))
    assert (server.reads, server.at_once) == (2, 1)
    await known.stop()


async def test_followers_are_told_that_it_changes_goes_or_may_not_be_read(server: SecretServer, known: Secrets) -> None:
    told: list[Reason | None] = []
    server.url = URL
    known.follow("mail", REF.name, "batch", lambda: told.append(None))
    assert (await known.read("mail", REF))[1] == URL
    for url, error, expected in (
        ("postgresql://elsewhere/database", None, None),
        (" \n", None, Reason.SECRET_KEY_NOT_FOUND),
        (None, None, Reason.SECRET_NOT_FOUND),
        (URL, ApiError(403, "forbidden"), Reason.SECRET_FORBIDDEN),
        (URL, None, None),
    ):
        before = len(told)
        server.url, server.error = url, error
        await happens(lambda before=before: len(told) > before)  # type: ignore[misc]
        assert await reason(known) == expected
        assert len(told) == before + 1


async def test_an_api_server_that_is_away_leaves_what_was_known(server: SecretServer, known: Secrets) -> None:
    told: list[None] = []
    server.url = URL
    known.follow("mail", REF.name, "batch", lambda: told.append(None))
    await known.read("mail", REF)
    server.error = ApiError(0, "no answer")
    reads = server.reads
    await happens(lambda: server.reads > reads + 1)
    assert (await known.read("mail", REF))[1] == URL
    assert not told


async def test_without_followers_nothing_is_read_any_more(server: SecretServer, known: Secrets) -> None:
    known.follow("mail", REF.name, "batch", lambda: None)
    await reason(known)
    await happens(lambda: server.reads > 2)
    known.unfollow("mail", REF.name, "batch")
    await asyncio.sleep(0)
    reads = server.reads
    await asyncio.sleep(0.1)
    assert server.reads == reads


@pytest.mark.parametrize(("hurried", "expected"), [(True, [1, 2, 3, 3]), (False, [10, 10])])
async def test_pauses_are_short_while_the_database_cannot_be_used(
    server: SecretServer, *, hurried: bool, expected: list[int]
) -> None:
    """With a clock that is moved by hand, a second at a time."""
    now = 0.0
    found = Secrets(server, Metrics(), lambda: now)
    server.url = URL
    found.follow("mail", REF.name, "batch", lambda: None)
    await found.read("mail", REF)
    pauses: list[float] = []
    last, reads = 0.0, server.reads
    while len(pauses) < len(expected):
        now += 1.0
        if hurried:
            found.hurry("mail", REF.name)
        await found.turn()
        if server.reads > reads:
            pauses.append(now - last)
            last, reads = now, server.reads
    assert pauses == expected
    await found.stop()
