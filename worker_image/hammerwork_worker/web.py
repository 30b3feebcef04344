"""The container's HTTP endpoints: probes for the kubelet and metrics for Prometheus."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from hammerwork import Worker

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """What the endpoints tell. `worker` is None until the database has been reached for the first time."""

    def __init__(self, queue: str, pool: str) -> None:
        self.worker: Worker | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(WorkerCollector(self, queue, pool))

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer 200 while the worker's loop moves; that this is answered at all shows that the process lives."""
        if self.worker is None or self.worker.healthy:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the worker's loop has not moved for 15 s\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer 200 while the database can be reached."""
        if self.worker is None:
            return web.Response(status=503, text="the database has not been reached yet\n")
        if not self.worker.ready:
            return web.Response(status=503, text="the database was not reached in the last heartbeat\n")
        return web.Response(text="ok\n")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer with all metrics in Prometheus' text format."""
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": METRICS_CONTENT_TYPE})


class WorkerCollector:
    """Reads the worker's own counters when Prometheus asks, so that there is one count of each thing."""

    def __init__(self, probes: Probes, queue: str, pool: str) -> None:
        self._probes = probes
        self._labels = (queue, pool)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; all zero until the worker runs."""
        worker = self._probes.worker
        stats = worker.get_batch_stats() if worker else None
        counters = (
            ("processed", "Attempts that have ended, successful or not", stats.jobs_processed if stats else 0),
            ("completed", "Attempts that succeeded", stats.jobs_completed if stats else 0),
            ("failed", "Attempts that failed, those that are retried included", stats.jobs_failed if stats else 0),
        )
        for name, meaning, count in counters:
            counter = CounterMetricFamily(f"hammerwork_worker_jobs_{name}", meaning, labels=("queue", "pool"))
            counter.add_metric(self._labels, count)
            yield counter
        gauges = (
            ("busy_lanes", "Lanes that run a job right now", worker.busy_lanes if worker else 0),
            ("ready", "1 while the database can be reached", int(worker.ready) if worker else 0),
            ("average_processing_seconds", "Mean duration of an attempt", _average_seconds(worker)),
        )
        for name, meaning, value in gauges:
            gauge = GaugeMetricFamily(f"hammerwork_worker_{name}", meaning, labels=("queue", "pool"))
            gauge.add_metric(self._labels, value)
            yield gauge


def _average_seconds(worker: Worker | None) -> float:
    return worker.get_batch_stats().average_processing_time_ms / 1000.0 if worker else 0.0


class ProbeServer:
    """Serves /healthz, /readyz and /metrics from a thread with an event loop of its own.

    A handler that keeps the worker's loop from turning must not keep the kubelet from its answer.
    """

    def __init__(self, probes: Probes, port: int, *, host: str | None = None) -> None:
        self._probes = probes
        self._place = (host, port)
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
        app = web.Application()
        app.router.add_get("/healthz", self._probes.healthz)
        app.router.add_get("/readyz", self._probes.readyz)
        app.router.add_get("/metrics", self._probes.metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, *self._place).start()
        except BaseException as error:  # noqa: BLE001 (whoever starts it is told)
            await runner.cleanup()
            self._started.set_exception(error)
            return
        # Any free port is another one for IPv4 than for IPv6; the shorter address is the one of IPv4.
        self._started.set_result(min(runner.addresses, key=len)[1])
        await self._stopped.wait()
        await runner.cleanup()
