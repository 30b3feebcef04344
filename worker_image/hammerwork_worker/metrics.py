"""What a worker's container tells of itself: to the kubelet, and to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from hammerwork.working.reporting import ProcessReport


class WorkerState:
    """Answers for probes and metrics. `report` is called in the thread that serves them."""

    def __init__(self, queue: str, pool: str, report: Callable[[], ProcessReport]) -> None:
        self.report = report
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(WorkerCollector(report, queue, pool))

    def unhealthy(self) -> str | None:
        """Return why the container has to be restarted, or None; that this is called shows that the process lives."""
        return self.report().unhealthy

    def not_ready(self) -> str | None:
        """Return why the container does not work on jobs, or None."""
        return self.report().not_ready


class WorkerCollector:
    """Reads the workers' own counters when Prometheus asks, so that there is one count of each thing."""

    def __init__(self, report: Callable[[], ProcessReport], queue: str, pool: str) -> None:
        self._report = report
        self._labels = (queue, pool)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; all zero until the worker runs."""
        report = self._report()
        stats = report.stats
        counters = (
            ("processed", "Attempts that have ended, successful or not", stats.jobs_processed),
            ("completed", "Attempts that succeeded", stats.jobs_completed),
            ("failed", "Attempts that failed, those that are retried included", stats.jobs_failed),
        )
        for name, meaning, count in counters:
            counter = CounterMetricFamily(f"hammerwork_worker_jobs_{name}", meaning, labels=("queue", "pool"))
            counter.add_metric(self._labels, count)
            yield counter
        gauges = (
            ("busy_lanes", "Lanes that run a job right now", report.busy_lanes),
            ("ready", "1 while the database can be reached", int(report.not_ready is None)),
            ("average_processing_seconds", "Mean duration of an attempt", stats.average_processing_time_ms / 1000.0),
        )
        for name, meaning, value in gauges:
            gauge = GaugeMetricFamily(f"hammerwork_worker_{name}", meaning, labels=("queue", "pool"))
            gauge.add_metric(self._labels, value)
            yield gauge
