"""The HTTP server for probes and metrics: /healthz, /readyz, /metrics. It needs neither database nor API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork_operator.metrics import Metrics


class WebServer:
    """Serves until `stop`."""

    def __init__(self, port: int, metrics: Metrics, ready: Callable[[], str | None]) -> None:
        """Take the port (0: any) and a function that returns why the operator is not ready, or None when it is."""
        self._port = port
        self._metrics = metrics
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Start to serve; return the port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._exposition),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, port=self._port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        # An event loop that is stuck does not answer, which is all that a restart can cure.
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if reason := self._ready():
            return web.Response(status=503, text=f"{reason}\n")
        return web.Response(text="ok\n")

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), content_type="text/plain", charset="utf-8")
