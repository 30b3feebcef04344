"""What becomes of a job that is posted to a service; the service is real, and serves here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from aiohttp import web

from hammerwork import AttemptFailedError, HandlerError, Job, JobFailedError
from hammerwork.errors import error_type
from hammerwork.handlers import HandlerReference, HTTPHandler
from hammerwork.handlers.http import MAX_MESSAGE_BYTES, MAX_RESULT_BYTES, retry_after
from tests.harness.services import serving
from tests.harness.waiting import happens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

JOB = Job("mail", {"to": "ä"}, batch_id=UUID(int=5), index=7, attempt=2, max_attempts=4)


async def outcome(answer: Callable[[web.Request], Awaitable[web.StreamResponse]], **options: Any) -> Any:
    """What a job gives whose service answers so."""
    async with serving(answer) as url, HTTPHandler(url, **options) as handler:
        return await handler(JOB)


def answering(status: int, body: str | bytes = "", **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        content = body if isinstance(body, bytes) else body.encode()
        return web.Response(status=status, body=content, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def test_the_service_is_told_the_payload_and_the_facts_of_the_job() -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        told = {name: value for name, value in request.headers.items() if name.startswith("Hammerwork-")}
        seen.append((request.method, request.content_type, await request.json(), told))
        return web.Response()

    assert await outcome(answer) is None
    assert seen == [
        (
            "POST",
            "application/json",
            JOB.payload,
            {
                "Hammerwork-Job-Id": f"{UUID(int=5)}/7",
                "Hammerwork-Job-Index": "7",
                "Hammerwork-Batch": str(UUID(int=5)),
                "Hammerwork-Queue": "mail",
                "Hammerwork-Attempt": "2",
                "Hammerwork-Max-Attempts": "4",
            },
        )
    ]


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, '{"a": [1]}', {"a": [1]}),
        (201, "made\n", "made"),
        (204, "", None),
        (299, "1", 1),
        (200, b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_the_body_of_a_success_is_the_result(status: int, body: str, result: Any) -> None:
    assert await outcome(answering(status, body)) == result


async def test_a_large_body_is_cut() -> None:
    assert await outcome(answering(200, "x" * 5_000_000)) == "x" * MAX_RESULT_BYTES
    with pytest.raises(AttemptFailedError) as caught:
        await outcome(answering(500, "x" * 5_000_000))
    assert len(str(caught.value)) == len("500 Internal Server Error: ") + MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, JobFailedError) for status in (400, 401, 404, 409, 422, 499)),
        *((status, AttemptFailedError) for status in (302, 408, 425, 429, 500, 502, 503, 599)),
    ],
)
async def test_which_answers_fail_for_good(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^{status}") as caught:
        await outcome(answering(status, "why"))
    assert error_type(caught.value) == "RequestFailed"


async def test_the_answer_is_told() -> None:
    with pytest.raises(AttemptFailedError, match=r"^503 Service Unavailable: overloaded$"):
        await outcome(answering(503, "overloaded\n"))
    with pytest.raises(AttemptFailedError, match=r"^302 Found: redirects are not followed \(to /there\)$"):
        await outcome(answering(302, "moved", Location="/there"))


async def test_a_service_may_say_when_to_come_again() -> None:
    with pytest.raises(AttemptFailedError) as caught:
        await outcome(answering(429, Retry_After="7"))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("999999999", 86_400),
        (format_datetime(NOON + timedelta(hours=1), usegmt=True), 3600),
        (format_datetime(NOON - timedelta(hours=1), usegmt=True), 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_a_header_retry_after_has_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after(header, NOON.timestamp()) == seconds


async def test_a_service_that_is_not_there_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://user:secret@127.0.0.1:{port}/jobs?key=secret"
    async with HTTPHandler(url) as handler:
        jobs = [asyncio.create_task(handler(JOB)) for _ in range(3)]
        await happens(lambda: "cannot be reached, its jobs wait" in caplog.text)
        async with serving(answering(200, "1"), port=port):
            assert await asyncio.gather(*jobs) == [1, 1, 1]
    assert caplog.text.count("cannot be reached") == 1
    assert "secret" not in caplog.text


async def test_what_takes_too_long_fails_the_attempt() -> None:
    async def never(_request: web.Request) -> web.Response:
        await asyncio.sleep(1000)
        return web.Response()

    with pytest.raises(AttemptFailedError, match=r"^http://127\.0\.0\.1:\d+/jobs: no answer within 0\.2 s$"):
        await outcome(never, timeout_seconds=0.2)


async def test_a_connection_that_breaks_fails_the_attempt() -> None:
    async def breaks(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with pytest.raises(AttemptFailedError, match=r"/jobs: Server ?Disconnected|/jobs: ClientOSError"):
        await outcome(breaks)


async def test_a_cancelled_job_ends_its_request() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        ended.set()
        return web.Response()

    async with serving(slow) as url, HTTPHandler(url) as handler:
        job = asyncio.create_task(handler(JOB))
        await asyncio.wait_for(begun.wait(), 40)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.wait_for(ended.wait(), 40)


async def test_connections_are_used_again() -> None:
    ports = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with serving(answer) as url, HTTPHandler(url) as handler:
        for _ in range(20):
            await handler(JOB)
    assert len(ports) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "http://",
        "http:///path",
        "http://host/{{ id }}",
        "host",
        "http://a b",
        "http://user:secret@/",
        "http://user:secret@:8080/",
        "http://user:se/cret@host/",
        "http://host:65536/?key=secret",
        "http://host:port/",
        "http://[::1/",
    ],
)
def test_what_is_no_url_is_refused_and_its_password_is_not_shown(url: str) -> None:
    with pytest.raises(HandlerError, match="must be a URL such as") as caught:
        HTTPHandler(url)
    assert "cret" not in str(caught.value)


def test_where_the_client_is_missing_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(HandlerError, match=r"package 'aiohttp' is missing; install hammerwork-operator\[http\]$"):
        HandlerReference.from_text("http://localhost/").load()


@pytest.mark.timeout(60)  # a time in proportion to the square of the text is an hour
@pytest.mark.parametrize("url", ["//" * 500_000, "http://" + "a" * 1_000_000 + " "], ids=["slashes", "letters"])
def test_a_long_text_that_is_no_url_is_refused_as_fast_as_it_is_read(url: str) -> None:
    with pytest.raises(HandlerError, match="must be a URL"):
        HTTPHandler(url)
