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

    `strand` leaves the present connections half-open: nothing is passed on, nothing is closed. New ones work.
    `swallow_answers` passes on what clients send and drops what the server answers, until `go_on`.
    `cut` breaks the present connections.
    `bytes_per_second`, if set, is the pace at which answers of the server arrive.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._swallowing = False
        self.bytes_per_second: float | None = None
        self.connections = 0
        """Connections made so far."""
        self.bursts = 0
        """Times that a client sent something after it had been answered, that is, round trips begun."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, to_writer}
        asking = [False]
        pipes = [
            asyncio.ensure_future(self._pipe(reader, to_writer, asking, self._flow, asks=True)),
            asyncio.ensure_future(self._pipe(to_reader, writer, asking, self._flow, asks=False)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            for end in (writer, to_writer):
                end.transport.abort()
                self._writers.discard(end)

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asking: list[bool],
        flow: asyncio.Event,
        *,
        asks: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await flow.wait()
                if asks and not asking[0]:
                    self.bursts += 1
                asking[0] = asks
                if not asks and self.bytes_per_second is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                if asks or not self._swallowing:
                    writer.write(data)
                    await writer.drain()

    def strand(self) -> None:
        self._flow.clear()
        self._flow = asyncio.Event()
        self._flow.set()

    def swallow_answers(self) -> None:
        self._swallowing = True

    def go_on(self) -> None:
        self._swallowing = False

    def cut(self) -> None:
        for writer in list(self._writers):
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
        relay.cut()
        await asyncio.sleep(0)
