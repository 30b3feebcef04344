"""A TCP proxy in front of a server, for what networks do to connections; it counts round trips too."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_PIECE_BYTES = 1 << 16


class _Link:
    """One connection: its two ends, who spoke last, and whether bytes pass."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)
        self.client_spoke_last = False
        self.stranded = False

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Proxy:
    """A port of this machine whose connections lead to one server; the test decides what becomes of them.

    `bytes_per_second`, if set, is the pace at which answers of the server arrive.
    """

    def __init__(self, server_port: int, server_host: str = "127.0.0.1") -> None:
        self.port = 0
        self.bytes_per_second: float | None = None
        self.connections = 0
        """Connections made so far."""
        self.bursts = 0
        """Times that a client sent something after it had been answered, that is, round trips begun."""
        self.before_burst: Callable[[], Awaitable[None]] | None = None
        """Waited for before what a client sends is passed on, once for each round trip."""
        self._target = (server_host, server_port)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallowing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def through(self, url: str) -> str:
        """Return the URL that leads to the same database by way of this proxy."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    def cut(self) -> None:
        """Break the present connections."""
        for link in tuple(self._links):
            link.cut()

    def move(self, server_port: int) -> None:
        """Lead to another server, as an address that moves does: the present connections break."""
        self._target = (self._target[0], server_port)
        self.cut()

    def hold(self) -> None:
        """Keep all bytes, of new connections too, until `deliver`."""
        self._flowing.clear()

    def deliver(self) -> None:
        """Pass on what was held back, and what comes."""
        self._flowing.set()

    def strand(self) -> None:
        """Leave the present connections half-open: they never pass a byte again, and never close. New ones work."""
        for link in self._links:
            link.stranded = True

    def swallow_answers(self) -> None:
        """Pass on what clients send and drop what the server answers, until `go_on`."""
        self._swallowing = True

    def go_on(self) -> None:
        """Let answers arrive again."""
        self._swallowing = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:  # the server is down
            writer.transport.abort()
            self._serving.discard(task)
            return
        link = _Link(writer, server_writer)
        self._links.add(link)
        pipes = [
            asyncio.create_task(self._pipe(link, reader, server_writer, upwards=True)),
            asyncio.create_task(self._pipe(link, server_reader, writer, upwards=False)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy is being taken down
        finally:
            for pipe in pipes:
                pipe.cancel()
            link.cut()
            self._links.discard(link)
            self._serving.discard(task)

    async def _pipe(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                await self._flowing.wait()
                if upwards and not link.client_spoke_last:
                    self.bursts += 1
                    if self.before_burst is not None:
                        await self.before_burst()
                link.client_spoke_last = upwards
                if not upwards and self.bytes_per_second is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                if not link.stranded and (upwards or not self._swallowing):
                    writer.write(data)
                    await writer.drain()
        if link.stranded:
            await asyncio.Event().wait()  # the other end does not hear of the end either


@contextlib.asynccontextmanager
async def proxy(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of the server of `url`; gives it and the URL that goes through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.port, parts.hostname) as relay:
        yield relay, relay.through(url)
