"""The network between the queue and its database, which can fail as a whole, and hold packets back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

_CHUNK_BYTES = 65_536


class _Link:
    """One connection: its two ends, and whether bytes pass."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)
        self.silent = False

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Network:
    """Connections to one port of this machine, all of which the test can break."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._serving: set[asyncio.Task[None]] = set()

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

    def cut(self) -> None:
        """Break all connections with a reset."""
        for link in tuple(self._links):
            link.cut()

    def hold(self) -> None:
        """Keep all bytes, of new connections too, until `deliver`."""
        self._flowing.clear()

    def deliver(self) -> None:
        """Pass on what was held back, and what comes."""
        self._flowing.set()

    def silence(self) -> None:
        """Let the connections of this moment stay open without ever passing a byte again; new ones work."""
        for link in self._links:
            link.silent = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # the server is down
            writer.transport.abort()
            self._serving.discard(task)
            return
        link = _Link(writer, server_writer)
        self._links.add(link)
        pipes = [
            asyncio.create_task(self._pipe(link, reader, server_writer)),
            asyncio.create_task(self._pipe(link, server_reader, writer)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the network is being taken down
        finally:
            for pipe in pipes:
                pipe.cancel()
            link.cut()
            self._links.discard(link)
            self._serving.discard(task)

    async def _pipe(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._flowing.wait()
                if not link.silent:
                    writer.write(data)
                    await writer.drain()
        if link.silent:
            await asyncio.Event().wait()  # the other end does not hear of the end either
