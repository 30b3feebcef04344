"""The HTTP session that kopf watches through: no object, however deep, and no answer of the API server ends a watch.

kopf decodes with Python's json, which gives up at a tenth of the depth that the API server takes, and it ends the
process after an answer that it does not expect. So what comes through this session is never too deep for it, and what
it does not expect becomes what it understands: a connection that broke, or a watch that begins anew with a list. So
does a watch from a version that the API server has not reached yet, as after its etcd was restored: it would be silent.
What a list does not have any more is told as deleted by the watch that follows it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from hammerwork_operator.kube.decoding import decode, shallow
from hammerwork_operator.kube.missed import MissedDeletions

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator, Mapping

    from yarl import URL

WATCH_PAUSE_SECONDS = 1.0
"""A watch of the same objects is begun at most this often, however soon the one before it ended."""
_CHECK = aiohttp.ClientTimeout(total=10.0)
_CHECK_LIMIT = "1"
"""Objects that are asked for to know how far the API server is: no list that says what is there."""
_UNAUTHORIZED = 401
_UNDERSTOOD = {_UNAUTHORIZED, 403, 429}
"""Refusals after which kopf logs in again or waits; as it does after what is wrong with the server (5xx)."""
_GONE = 410
_BEGIN_ANEW = b'{"type":"ERROR","object":{"kind":"Status","code":410}}'
"""How the API server says in a watch that it has to begin with a list."""

_LOGGER = logging.getLogger(__name__)


class Pauses:
    """Seconds between the tries of a request: from 1 they double up to 8, without end."""

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield pause
            pause = min(2 * pause, 8.0)


class Watches:
    """What is known of the watches, by their paths; it holds in any session."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        """When each was begun last, by the clock of the loop."""
        self.doubtful: set[str] = set()
        """Those from a version that the API server may not know, since it was away or set back: until the next list."""
        self.deletions = MissedDeletions()


def watch_session(headers: Mapping[str, str], certificates: ssl.SSLContext, watches: Watches) -> aiohttp.ClientSession:
    """Return a session for kopf. No request is made."""

    class Answer(_Answer):
        known = watches

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=certificates),
        headers=headers,
        response_class=Answer,
        trace_configs=[_paced(watches)],
    )


def _paced(watches: Watches) -> aiohttp.TraceConfig:
    async def wait(session: aiohttp.ClientSession, _context: object, request: aiohttp.TraceRequestStartParams) -> None:
        if not _is_watch(request.url.query):
            return
        clock, path = asyncio.get_running_loop().time, request.url.path
        while (rest := watches.begun.get(path, float("-inf")) + WATCH_PAUSE_SECONDS - clock()) > 0:
            await asyncio.sleep(rest)
        watches.begun[path] = clock()
        try:
            ahead = await _is_ahead(session, request.url)
        except aiohttp.ClientConnectionError:
            # Whatever was restored meanwhile may have gone on past the version that is known.
            watches.doubtful.add(path)
            raise
        if ahead:
            _LOGGER.warning("watching %s: the API server knows an older state than before; all is listed again", path)
            watches.doubtful.add(path)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(wait)
    return config


async def _is_ahead(session: aiohttp.ClientSession, url: URL) -> bool:
    """Return whether the watch begins at a version that the API server has not reached.

    Raises:
        aiohttp.ClientConnectionError: It does not say: such a watch would wait in silence, so it is not begun yet.
    """
    version = url.query.get("resourceVersion", "")
    selector = {key: value for key, value in url.query.items() if key == "labelSelector"}
    if not version.isdigit():
        return False
    try:
        async with session.get(url.with_query({"limit": _CHECK_LIMIT, **selector}), timeout=_CHECK) as answer:
            if answer.status == _UNAUTHORIZED:
                return False  # kopf logs in again when the watch meets that
            answer.raise_for_status()
            content = await answer.read()
            newest = msgspec.json.decode(shallow(content), type=_List).metadata.resource_version
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
        # Not its repr, which may have the headers of the request, and so the token.
        raise aiohttp.ClientConnectionError(f"{url.path}: {type(error).__name__}: {error}") from error
    return newest.isdigit() and int(newest) < int(version)


def _is_watch(query: Mapping[str, str]) -> bool:
    return query.get("watch") == "true"


class _Answer(aiohttp.ClientResponse):
    """An answer of the API server, as kopf can take it."""

    known: Watches

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        try:
            await super().start(connection)
        except aiohttp.ClientResponseError as error:
            raise aiohttp.ClientConnectionError(f"{self.url.path}: no answer in HTTP: {error.message}") from error
        # No API server sends that. aiohttp would follow, and kopf would end with what it says of a circle.
        if 300 <= self.status < 400:
            raise aiohttp.ClientConnectionError(f"{self.url.path}: HTTP status {self.status}, which leads elsewhere")
        refused = 400 <= self.status < 500 and self.status not in _UNDERSTOOD
        if refused and self.status != _GONE:
            _LOGGER.warning("%s: HTTP status %d %s", self.url.path, self.status, self.reason)
        if not _is_watch(self.url.query):
            await self._take(refused=refused)
        elif refused or (self.status < 400 and self.url.path in self.known.doubtful):
            self.status = 200
            self.content = _BeginsAnew(self.content, self.url.path, self.known.deletions)  # type: ignore[assignment]
        elif self.status < 400:
            self.content = _Events(self.content, self.url.path, self.known.deletions)  # type: ignore[assignment]
        return self

    async def _take(self, *, refused: bool) -> None:
        """Read the whole answer. An error that kopf would end with looks as a connection that broke: it asks again."""
        if refused and self.status == _GONE and "continue" in self.url.query:
            raise aiohttp.ClientPayloadError("the rest of the list is gone")  # after which kopf begins the list again
        if refused:
            raise aiohttp.ClientConnectionError(f"HTTP status {self.status}")
        try:
            content = await self.read()
            self._decoded = decode(content) if self.status < 400 else None
            self._note_list()
        except (aiohttp.ClientPayloadError, msgspec.MsgspecError) as error:
            raise aiohttp.ClientConnectionError(f"{self.url.path}: half an answer, or no JSON: {error}") from error

    def _note_list(self) -> None:
        query, found = self.url.query, self._decoded
        if isinstance(found, dict) and "items" in found and query.get("limit") != _CHECK_LIMIT:
            self.known.deletions.listed(self.url.path, found, continued="continue" in query)
            if not found["metadata"].get("continue"):
                self.known.doubtful.discard(self.url.path)

    async def json(self, **_: Any) -> Any:
        return self._decoded if self.status < 400 else await super().json()


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct):
    metadata: _Version


class _Event(msgspec.Struct):
    type: str
    object: dict[str, msgspec.Raw]


class _Events:
    """The events of a watch, each a whole line, after those of the deletions that no watch told of."""

    def __init__(self, content: aiohttp.StreamReader, path: str, deletions: MissedDeletions) -> None:
        self._content = content
        self._path = path
        self._deletions = deletions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield an event at a time, with the end of its line; one that was cut off is none: the next watch has it."""
        for line in self._deletions.told(self._path):
            yield line + b"\n"
            await asyncio.sleep(0)  # there may be thousands
        parts: list[bytes] = []
        async for chunk in self._content.iter_chunked(size):
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                if content := b"".join([*parts, end]):
                    line = readable(content)
                    self._deletions.watched(self._path, line)
                    yield line + b"\n"
                parts = []
            parts.append(rest)


class _BeginsAnew(_Events):
    """In place of the events of a watch, whatever the server sends: that it has to begin with a list."""

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:  # noqa: ARG002
        yield _BEGIN_ANEW + b"\n"


def readable(line: bytes) -> bytes:
    """Return the event of a watch as kopf can take it: not too deep, and each error one that it knows what to do about.

    Raises:
        aiohttp.ClientPayloadError: It is no event; kopf watches on from the last one.
    """
    try:
        line = shallow(line)
        kind = msgspec.json.decode(line, type=_Event).type
    except msgspec.MsgspecError as error:
        raise aiohttp.ClientPayloadError(f"no event of a watch: {error}") from error
    return _BEGIN_ANEW if kind == "ERROR" else line
