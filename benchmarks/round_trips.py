"""Counts round trips on the wire, for any driver and database: a proxy that sees who speaks after whom."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PIECE_BYTES = 1 << 16


class Tally:
    """Round trips seen so far, over all connections: times that a client spoke after the server had spoken."""

    def __init__(self) -> None:
        self.count = 0


@contextlib.asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[str, Tally]]:
    """Give a URL that leads to the database at `url` through a proxy, and the proxy's tally."""
    parts = urlsplit(url)
    tally = Tally()
    connections: set[asyncio.Task[None]] = set()

    async def serve(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        # Ended by counted(), it has nothing left to do; asyncio's streams would report the cancellation as an error.
        with contextlib.suppress(asyncio.CancelledError):
            from_server, to_server = await asyncio.open_connection(parts.hostname, parts.port)
            await _relay(tally, from_client, to_client, from_server, to_server)
        connections.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}").geturl(), tally
    finally:
        listener.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _relay(
    tally: Tally,
    from_client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    from_server: asyncio.StreamReader,
    to_server: asyncio.StreamWriter,
) -> None:
    server_spoke_last = True

    async def upwards() -> None:
        nonlocal server_spoke_last
        while piece := await from_client.read(_PIECE_BYTES):
            tally.count += server_spoke_last
            server_spoke_last = False
            to_server.write(piece)
            await to_server.drain()

    async def downwards() -> None:
        nonlocal server_spoke_last
        while piece := await from_server.read(_PIECE_BYTES):
            server_spoke_last = True
            to_client.write(piece)
            await to_client.drain()

    ways = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # one side has closed
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        to_client.close()
        to_server.close()
