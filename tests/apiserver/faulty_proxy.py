"""A proxy in front of the API server that answers in its place, breaks off, or is not there, as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import yaml
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_PASSED_ON = ("Authorization", "Accept", "Content-Type", "User-Agent")


@dataclass(frozen=True)
class Fault:
    """What becomes of a request. Without any of these, the connection breaks before it reaches the API server."""

    status: int = 0
    """The proxy answers with this HTTP status, and the API server does not hear of the request."""
    retry_after: int | None = None
    event: int = 0
    """The watch is told of an error with this code."""
    lost_answer: bool = False
    """The API server does what it is asked to; the connection breaks in the midst of its answer."""
    seconds: float = 0.0
    """The request arrives late."""


@dataclass
class FaultyProxy:
    """`fault` is asked about each request, by method and path."""

    target: str
    fault: Callable[[str, str], Fault | None] = lambda _method, _path: None
    away: bool = False
    """Nothing is answered; connections break."""
    port: int = 0
    requests: list[tuple[float, str]] = field(default_factory=list)
    """Moment, and method with path, of each request so far."""
    _watches: set[asyncio.Transport] = field(default_factory=set)

    def cut_watches(self, *, within_a_line: bool = False) -> None:
        """End the present watches; `within_a_line`: as if in good order, though an event has just begun."""
        for connection in list(self._watches):
            if within_a_line:
                connection.write(b'13\r\n{"type":"ADDED","ob\r\n0\r\n\r\n')
            else:
                connection.abort()

    def since(self, moment: float) -> list[str]:
        """Return the requests that were made since then."""
        return [what for when, what in self.requests if when >= moment]

    async def answer(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Pass a request on, or do as `fault` says."""
        self.requests.append((time.monotonic(), f"{request.method} {request.path}"))
        fault = None if self.away else self.fault(request.method, request.path_qs)
        if self.away or fault == Fault():
            return _broken(request)
        if fault is not None and fault.status:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            status = {"kind": "Status", "code": fault.status, "message": "injected"}
            return web.json_response(status, status=fault.status, headers=headers)
        if fault is not None:
            await asyncio.sleep(fault.seconds)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await request.read()
        url = self.target + request.path_qs
        async with session.request(request.method, url, headers=headers, data=body or None) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            if fault is not None and fault.event:
                status = {"kind": "Status", "code": fault.event, "message": "injected"}
                await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                return response
            watch = request.transport if "watch=true" in request.query_string else None
            if watch is not None:
                self._watches.add(watch)
            try:
                async for piece, _ in answer.content.iter_chunks():
                    if fault is not None and fault.lost_answer:
                        await response.write(piece[: len(piece) // 2])
                        return _broken(request)
                    await response.write(piece)
            except (ConnectionError, aiohttp.ClientError):
                return _broken(request)
            finally:
                if watch is not None:
                    self._watches.discard(watch)
            return response


def _broken(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextlib.asynccontextmanager
async def faulty_proxy(kubeconfig: Path, target: Path) -> AsyncIterator[FaultyProxy]:
    """Run a proxy in front of the API server of a kubeconfig; write one that leads through it to `target`."""
    config = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
    cluster = config["clusters"][0]["cluster"]
    proxy = FaultyProxy(cluster["server"])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=no_limit, read_bufsize=2**21) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            return await proxy.answer(request, session)

        application = web.Application(client_max_size=2**22)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        proxy.port = address[1]
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{proxy.port}"}
        await asyncio.to_thread(target.write_text, yaml.safe_dump(config))
        try:
            yield proxy
        finally:
            proxy.away = True
            proxy.cut_watches()
            await runner.cleanup()
