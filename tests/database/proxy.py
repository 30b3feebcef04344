"""A small TCP proxy in front of a server, for what networks do to connections."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Proxy:
    """Passes bytes on between clients and one server, as long as it is told to.

    `stall` makes all connections half-open, present ones and new ones: nothing is passed on, nothing is closed.
    `swallow_answers` passes on what clients send and drops what the server answers.
    `cut` breaks the present connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallowing = False
        self._to_server: set[asyncio.StreamWriter] = set()
        self.bursts = 0
        """Times that a client sent something after it had been answered, that is, round trips begun."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, to_writer}
        self._to_server.add(to_writer)
        turn = [False]
        pipes = [
            asyncio.ensure_future(self._pipe(reader, to_writer, turn)),
            asyncio.ensure_future(self._pipe(to_reader, writer, turn)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            for end in (writer, to_writer):
                end.transport.abort()
                self._writers.discard(end)
            self._to_server.discard(to_writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: list[bool]) -> None:
        upward = writer in self._to_server
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if upward and not asking[0]:
                    self.bursts += 1
                asking[0] = upward
                if upward or not self._swallowing:
                    writer.write(data)
                    await writer.drain()

    def stall(self) -> None:
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()
        self._swallowing = False

    def swallow_answers(self) -> None:
        self._swallowing = True

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of the server of `url`; gives it and the URL that goes through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    relay = Proxy(parts.hostname, parts.port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield relay, url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}")
    finally:
        server.close()
        relay.go_on()
        relay.cut()
        await asyncio.sleep(0)
