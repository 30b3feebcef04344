"""What kopf gets to see of the answers of an API server; the server is a small one, but speaks HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from hammerwork_operator.kube import session
from hammerwork_operator.kube.session import Pauses, Watches, watch_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADDED = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}'
DEEP_HALF = b'{"type":"ADDED","object":{"spec":' + b'{"a":' * 2_000 + b"\n"
"""Deep, and cut off."""
NEWEST = "41"
"""The version that the server has reached."""
LISTED = json.dumps({"metadata": {"resourceVersion": NEWEST}, "items": []}).encode()
ANEW = [("ERROR", 410)]
LOGIN = {"Authorization": "Bearer the-token"}


@contextlib.asynccontextmanager
async def served(
    status: int,
    body: bytes,
    watches: Watches | None = None,
    *,
    of_version: int = 200,
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Serve this answer to whatever is asked, and `of_version` to who asks how far the server is.

    Return a session, and the address.
    """

    async def answer(request: web.Request) -> web.Response:
        if request.query.get("limit") == "1":
            return web.json_response({"metadata": {"resourceVersion": NEWEST}, "items": None}, status=of_version)
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        context = ssl.create_default_context()
        async with watch_session(LOGIN, context, watches or Watches()) as client:
            yield client, f"http://127.0.0.1:{port}/pods"
    finally:
        await runner.cleanup()


async def watched(
    status: int, body: bytes, watches: Watches | None = None, *, of_version: int = 200, **query: str
) -> list[tuple[str, Any]]:
    """Return type, and name or code, of the events of a watch that is answered like this, as kopf reads them."""
    found = []
    asked = {"watch": "true", **query}
    async with (
        served(status, body, watches, of_version=of_version) as (client, url),
        client.get(url, params=asked) as response,
    ):
        if response.status < 400:
            async for chunk in response.content.iter_chunked(2**20):
                event = json.loads(chunk.decode())
                found.append(
                    (event["type"], event["object"].get("code", event["object"].get("metadata", {}).get("name")))
                )
        else:
            found.append(("status", response.status))
    return found


async def test_a_watch_has_whole_events_only() -> None:
    """A line that was cut off is none, as a proxy that ends may leave it."""
    assert await watched(200, ADDED + b"\n" + ADDED + b"\n" + ADDED[:20]) == [("ADDED", "a"), ("ADDED", "a")]


async def test_an_event_that_is_too_deep_for_python_comes_with_what_stands_around_it() -> None:
    for levels in (930, 9_900):
        deep = ADDED[:-2] + b',"spec":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}}"
        assert await watched(200, deep + b"\n") == [("ADDED", "a")]


@pytest.mark.parametrize(("version", "events"), [("40", [("ADDED", "a")]), (NEWEST, [("ADDED", "a")]), ("42", ANEW)])
async def test_a_watch_from_a_version_that_is_not_reached_yet_begins_anew(version: str, events: list[Any]) -> None:
    """After etcd was restored from a copy, it would be silent."""
    assert await watched(200, ADDED + b"\n", resourceVersion=version, labelSelector="a=b") == events


@pytest.mark.parametrize("code", [410, 500, 504])
async def test_an_error_in_a_watch_makes_it_begin_anew(code: int) -> None:
    error = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code}}).encode()
    assert await watched(200, error + b"\n") == ANEW


@pytest.mark.parametrize(
    "body", [b"<html>\n", b'{"type":"ADDED"}\n', b"[]\n", b'{"type":"ADDED","object":[\n', DEEP_HALF]
)
async def test_what_is_no_event_breaks_the_connection(body: bytes) -> None:
    with pytest.raises(aiohttp.ClientPayloadError, match="no event of a watch"):
        await watched(200, body)


@pytest.mark.parametrize("status", [400, 404, 409, 410])
async def test_a_refused_watch_begins_anew_with_a_list_and_a_refused_list_is_tried_again(status: int) -> None:
    assert await watched(status, b"{}") == ANEW
    async with served(status, b"{}") as (client, url):
        with pytest.raises(aiohttp.ClientConnectionError, match=f"HTTP status {status}"):
            await client.get(url)


async def test_a_list_whose_rest_is_gone_is_begun_again() -> None:
    async with served(410, b"{}") as (client, url):
        with pytest.raises(aiohttp.ClientPayloadError, match="rest of the list"):
            await client.get(url, params={"continue": "x"})


@pytest.mark.parametrize("query", [{}, {"watch": "true"}], ids=["list", "watch"])
async def test_no_answer_leads_elsewhere(query: dict[str, str]) -> None:
    async with served(302, b"{}") as (client, url):
        with pytest.raises(aiohttp.ClientConnectionError, match="HTTP status 302, which leads elsewhere"):
            await client.get(url, params=query)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_what_kopf_knows_what_to_do_about_is_left_to_it(status: int) -> None:
    assert await watched(status, b"{}") == [("status", status)]


@pytest.mark.parametrize("body", [b"<html>", DEEP_HALF])
async def test_a_list_that_is_no_json_is_tried_again(body: bytes) -> None:
    async with served(200, body) as (client, url):
        with pytest.raises(aiohttp.ClientConnectionError, match="no JSON"):
            await client.get(url)


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_watch_is_not_begun_where_it_is_not_known_whether_the_server_was_set_back(status: int) -> None:
    """One that begins at a version that the API server does not have would wait in silence."""
    with pytest.raises(aiohttp.ClientConnectionError, match=rf"/pods: Client\w+Error: .*{status}") as caught:
        await watched(200, ADDED + b"\n", of_version=status, resourceVersion="5")
    assert "the-token" not in repr(caught.value)


@pytest.mark.parametrize("doubt", ["gone", "behind"])
async def test_a_watch_in_doubt_begins_anew_whatever_comes_between_until_there_was_a_list(
    doubt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is answered the API server may refuse it, want another login, and go on past the version."""
    monkeypatch.setattr(session, "WATCH_PAUSE_SECONDS", 0.0)
    watches = Watches()
    if doubt == "gone":
        with pytest.raises(aiohttp.ClientConnectionError):
            await watched(200, b"", watches, of_version=500, resourceVersion="5")
    else:
        assert await watched(500, b"{}", watches, resourceVersion="42") == [("status", 500)]
    for status in (429, 401):
        assert await watched(status, b"{}", watches, resourceVersion="5") == [("status", status)]
    for _ in range(2):
        assert await watched(200, ADDED + b"\n", watches, resourceVersion="5") == ANEW
    async with served(503, b"{}", watches) as (client, url):
        await client.get(url)
    assert await watched(200, ADDED + b"\n", watches, resourceVersion="5") == ANEW
    for part in (LISTED.replace(b'"41"', b'"41", "continue": "x"'), LISTED):
        assert await watched(200, ADDED + b"\n", watches, resourceVersion="5") == ANEW
        async with served(200, part, watches) as (client, url):
            await client.get(url)
    assert await watched(200, ADDED + b"\n", watches, resourceVersion="5") == [("ADDED", "a")]


async def test_a_watch_that_ends_at_once_is_not_begun_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    async def sleep(seconds: float) -> None:
        if seconds > 1:
            waited.append(seconds)
            monkeypatch.setattr(session, "WATCH_PAUSE_SECONDS", 0.0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(session, "WATCH_PAUSE_SECONDS", 1_000.0)
    async with served(200, b"{}") as (client, url):
        for _ in range(2):
            async with client.get(url, params={"watch": "true"}):
                pass
        async with client.get(url):
            pass
    assert len(waited) == 1
    assert 900 < waited[0] <= 1_000


async def test_a_watch_of_the_session_after_a_new_login_waits_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WATCH_PAUSE_SECONDS", 1_000.0)
    watches = Watches()
    async with served(200, b"{}", watches) as (client, url), client.get(url, params={"watch": "true"}):
        pass
    async with served(200, b"{}", watches) as (client, url):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.get(url, params={"watch": "true"})


def test_tries_have_no_end_and_pauses_have() -> None:
    assert list(itertools.islice(Pauses(), 8)) == [1, 2, 4, 8, 8, 8, 8, 8]


async def test_a_watch_begins_with_the_deletions_that_no_watch_has_told_of() -> None:
    """Who only asks how far the server is has not listed what is there."""

    def found(*names: str) -> bytes:
        created = "2026-05-01T12:00:00Z"
        items = [{"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created}} for name in names]
        return json.dumps({"metadata": {"resourceVersion": NEWEST}, "items": items}).encode()

    watches, told = Watches(), []
    for answer in (found("a", "b"), found("b")):
        async with served(200, answer, watches) as (client, url):
            await client.get(url)
    for _ in range(2):
        async with (
            served(200, ADDED + b"\n", watches) as (client, url),
            client.get(url, params={"watch": "true", "resourceVersion": NEWEST}) as response,
        ):
            told.append([json.loads(line) async for line in response.content.iter_chunked(2**20)])
    assert [[(each["type"], each["object"]["metadata"]["name"]) for each in events] for events in told] == [
        [("DELETED", "a"), ("ADDED", "a")],
        [("ADDED", "a")],
    ]
