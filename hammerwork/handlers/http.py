"""Handlers of kind `http`: a POST for each job, to a sidecar or a service. docs/handlers.md has the contract."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import re
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES, MAX_RETRY_SECONDS
from hammerwork.errors import AttemptFailedError, HandlerError, JobFailedError
from hammerwork.handlers.kinds import Field, Kind, read_json
from hammerwork.handlers.lifetime import Held
from hammerwork.handlers.results import decoded
from hammerwork.seldom import Seldom
from hammerwork.timing import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiohttp import ClientResponse, ClientSession

    from hammerwork.batch import Job

logger = logging.getLogger("hammerwork.worker")

ERROR_TYPE = "RequestFailed"
"""What failures of requests are recorded as."""

DEFAULT_TIMEOUT_SECONDS = 600
MAX_TIMEOUT_SECONDS = 86_400

TimeoutSeconds = Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT_SECONDS)]

MAX_RESULT_BYTES = MAX_PAYLOAD_BYTES
MAX_MESSAGE_BYTES = 800
"""Of a body in a message."""
CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 4.0
"""How long an unused connection is kept; Node.js, among others, closes it after 5 s, maybe just as it is used."""

_MAYBE_LATER = frozenset({408, 425, 429})
"""Of the answers 400 to 499, those that do not fail the job for good."""


class HTTPHandler(Held):
    """Posts each job to a URL, with the payload as JSON.

    Args:
        url: Of ``http`` or ``https``. It may have user and password.
        timeout_seconds: How long a job may take, the wait for a service that cannot be reached included.

    Raises:
        HandlerError: The package aiohttp is missing, or the URL is none.
    """

    def __init__(self, url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        try:
            import aiohttp  # noqa: F401, PLC0415 (only this kind needs it)
        except ImportError as error:
            raise HandlerError(
                f"handler {_shown(url)!r}: Python package 'aiohttp' is missing; install hammerwork-operator[http]"
            ) from error
        if not _is_url(url):
            raise HandlerError(f"handler {_shown(url)!r}: must be {URL.allowed}")
        self._url = url
        self._timeout = timeout_seconds
        self._session: ClientSession | None = None
        self._unreachable = Seldom()

    def open(self) -> None:
        """Make the pool of connections; it has as many as there are jobs at a time."""
        import aiohttp  # noqa: PLC0415

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __call__(self, job: Job) -> Any:
        """Post the job; returns the body of the answer, decoded if that is JSON, None if it is empty.

        Raises:
            AttemptFailedError: The answer is neither 2xx nor final, there is none in time, or the connection broke.
            JobFailedError: The answer is 4xx, but none of 408, 425, 429.
        """
        if self._session is None:
            self.open()
        assert self._session is not None
        content = msgspec.json.encode(job.payload)
        try:
            async with asyncio.timeout(self._timeout) as timer:
                return await self._posted(self._session, content, _headers(job))
        except TimeoutError as error:
            if timer.expired():
                raise self._failed(f"no answer within {self._timeout:g} s") from error
            raise

    async def _posted(self, session: ClientSession, content: bytes, headers: dict[str, str]) -> Any:
        """Post once the service can be reached: a job that it has not been told of has not been tried."""
        import aiohttp  # noqa: PLC0415

        failures = 0
        while True:
            try:
                async with session.post(self._url, data=content, headers=headers, allow_redirects=False) as answer:
                    return await self._outcome(answer)
            except aiohttp.ClientSSLError as error:
                raise self._failed(str(error)) from error
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if self._unreachable.due():
                    logger.warning("%s cannot be reached, its jobs wait: %s", _shown(self._url), error)
            except (aiohttp.ClientError, OSError) as error:
                raise self._failed(f"{type(error).__name__}: {error}") from error
            await asyncio.sleep(backoff(failures))
            failures += 1

    async def _outcome(self, answer: ClientResponse) -> Any:
        status = answer.status
        body = await _beginning(answer, MAX_RESULT_BYTES if 200 <= status < 300 else MAX_MESSAGE_BYTES)
        if 200 <= status < 300:
            return decoded(body)
        message = f"{status} {answer.reason or ''}".rstrip()
        if 300 <= status < 400:
            message += f": redirects are not followed (to {answer.headers.get('Location', 'nowhere')})"
        elif body.strip():
            message += f": {body.decode(errors='replace').strip()}"
        if 400 <= status < 500 and status not in _MAYBE_LATER:
            raise JobFailedError(message, error_type=ERROR_TYPE)
        raise AttemptFailedError(
            message, error_type=ERROR_TYPE, retry_after=retry_after(answer.headers.get("Retry-After", ""), time.time())
        )

    def _failed(self, message: str) -> AttemptFailedError:
        return AttemptFailedError(f"{_shown(self._url)}: {message}", error_type=ERROR_TYPE)


def _is_url(text: str) -> bool:
    """Whether a request can be sent there; the driver would tell only for each job, and with the password."""
    try:
        parts = urlsplit(text)
        return parts.port != 0 and bool(parts.hostname) and re.fullmatch(URL.pattern or "", text) is not None
    except ValueError:  # the port, or the brackets of an IPv6 address
        return False


def _shown(url: str) -> str:
    """Return the URL without user, password and query, also where a / in the password was not encoded."""
    shown = url.partition("?")[0]
    scheme, slashes, rest = shown.partition("//")
    return scheme + slashes + rest.rpartition("@")[2]


def retry_after(header: str, now: float) -> float | None:
    """Return the seconds, at most a day, that a header Retry-After asks for; None for one that is empty or wrong."""
    text = header.strip()
    if re.fullmatch("[0-9]{1,9}", text):
        seconds = float(text)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_SECONDS)


def _headers(job: Job) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Hammerwork-Job-Id": job.id,
        "Hammerwork-Job-Index": str(job.index),
        "Hammerwork-Batch": str(job.batch_id),
        "Hammerwork-Queue": job.queue,
        "Hammerwork-Attempt": str(job.attempt),
        "Hammerwork-Max-Attempts": str(job.max_attempts),
    }


async def _beginning(answer: ClientResponse, most: int) -> bytes:
    """Return the first `most` bytes of a body. Leaving the answer then closes the connection if there is more."""
    body = b""
    while len(body) < most and (chunk := await answer.content.read(most - len(body))):
        body += chunk
    return body


def from_text(text: str) -> dict[str, str] | None:
    """Return the fields of a handler that an option names by its URL."""
    return {"url": text} if text.startswith(("http://", "https://")) else None


def load(fields: Mapping[str, str], folder: Path | None) -> HTTPHandler:  # noqa: ARG001 (a kind of others needs it)
    """Return the handler that posts to the field `url`."""
    timeout = DEFAULT_TIMEOUT_SECONDS
    if "timeoutSeconds" in fields:
        timeout = read_json(fields["timeoutSeconds"], TimeoutSeconds, KIND, "timeoutSeconds")
    return HTTPHandler(fields["url"], timeout_seconds=timeout)


URL = Field(
    variable="HAMMERWORK_HTTP_URL",
    purpose="where to post each job",
    allowed="a URL such as http://localhost:8080/jobs",
    pattern=r"^https?://[^\s{}/][^\s{}]*$",
)

KIND = Kind(
    name="http",
    fields={
        "url": URL,
        "timeoutSeconds": Field(
            variable="HAMMERWORK_HTTP_TIMEOUT_SECONDS",
            purpose="how long a job may take",
            allowed=f"a whole number of seconds, 1 to {MAX_TIMEOUT_SECONDS:,}",
        ),
    },
    load=load,
    text="http://HOST/PATH",
    from_text=from_text,
)
