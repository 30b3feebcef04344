"""What a worker's container tells of itself: to the kubelet, and to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from hammerwork.timing import STUCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from hammerwork import Worker


class WorkerState:
    """Answers for probes and metrics. `worker` is None until the database has been reached for the first time."""

    def __init__(self, queue: str, pool: str) -> None:
        self.worker: Worker | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(WorkerCollector(self, queue, pool))

    def unhealthy(self) -> str | None:
        """Return that the worker's loop does not move, or None; that this is called shows that the process lives."""
        if self.worker is None or self.worker.healthy:
            return None
        return f"the worker's loop has not moved for {STUCK_SECONDS:.0f} s"

    def not_ready(self) -> str | None:
        """Return that the database cannot be reached, or None."""
        if self.worker is None:
            return "the database has not been reached yet"
        return None if self.worker.ready else "the database was not reached in the last heartbeat"


class WorkerCollector:
    """Reads the worker's own counters when Prometheus asks, so that there is one count of each thing."""

    def __init__(self, state: WorkerState, queue: str, pool: str) -> None:
        self._state = state
        self._labels = (queue, pool)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; all zero until the worker runs."""
        worker = self._state.worker
        stats = worker.get_batch_stats() if worker else None
        counters = (
            ("processed", "Attempts that have ended, successful or not", stats.jobs_processed if stats else 0),
            ("completed", "Attempts that succeeded", stats.jobs_completed if stats else 0),
            ("failed", "Attempts that failed, those that are tried again included", stats.jobs_failed if stats else 0),
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
