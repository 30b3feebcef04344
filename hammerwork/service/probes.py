"""The HTTP server of a process: /healthz and /readyz for the kubelet, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ProbeServer:
    """Serves on the event loop that starts it: while that is stuck, nothing is answered."""

    def __init__(
        self,
        port: int,
        registry: CollectorRegistry,
        *,
        ready: Callable[[], str | None],
        healthy: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Take what is to be served.

        Args:
            port: Of all addresses of this machine; 0 takes any that is free.
            registry: The metrics.
            ready: Returns why the process is not ready, or None when it is.
            healthy: Returns why the process has to be restarted, or None.
        """
        self._port = port
        self._registry = registry
        self._ready = ready
        self._healthy = healthy
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Start to serve; return the port. OSError if it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, port=self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        # Any free port is another one for IPv4 than for IPv6; the shorter address is the one of IPv4.
        port: int = min(self._runner.addresses, key=len)[1]
        return port

    async def stop(self) -> None:
        """Serve no more; without effect where nothing is served."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _verdict(self._healthy())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(self._ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": METRICS_CONTENT_TYPE})


def _verdict(reason: str | None) -> web.Response:
    return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")


class ProbeThread:
    """Runs a `ProbeServer` in a thread with an event loop of its own.

    A handler that keeps the process's loop from turning must not keep the kubelet waiting. `ready` and `healthy` are
    called from that thread.
    """

    def __init__(self, server: ProbeServer) -> None:
        self._server = server
        self._started: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        # A daemon: the process may end in ways that stop nothing.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="probes", daemon=True)

    def start(self) -> int:
        """Serve, until `stop`; returns the port. OSError if it is taken."""
        self._thread.start()
        return self._started.result()

    def stop(self) -> None:
        """Serve no more; without effect where nothing is served."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            port = await self._server.start()
        except BaseException as error:  # noqa: BLE001 (whoever starts it is told)
            self._started.set_exception(error)
            return
        self._started.set_result(port)
        await self._stopped.wait()
        await self._server.stop()
