"""Prometheus metrics of the operator."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._reconciles = Counter(
            "hammerwork_operator_reconciles",
            "Reconciliations by kind and outcome (success, conflict, error).",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._reconcile_seconds = Histogram(
            "hammerwork_operator_reconcile_seconds",
            "Duration of reconciliations by kind.",
            ["kind"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
            registry=self.registry,
        )
        self.loaded_jobs = Counter(
            "hammerwork_operator_loaded_jobs",
            "Jobs of batches that were loaded into a database.",
            registry=self.registry,
        )
        self.status_writes = Counter(
            "hammerwork_operator_status_writes", "Status patches by kind.", ["kind"], registry=self.registry
        )
        self.restarted_tasks = Counter(
            "hammerwork_operator_restarted_tasks",
            "Tasks of the operator that ended unasked and were started again, by kind.",
            ["task"],
            registry=self.registry,
        )
        self.live_batches = Gauge(
            "hammerwork_operator_live_batches", "JobBatches whose progress is followed.", registry=self.registry
        )
        self.databases = Gauge(
            "hammerwork_operator_databases",
            "Databases by state: up (reachable) or down (unreachable).",
            ["state"],
            registry=self.registry,
        )

        self.schedule_delay = Histogram(
            "hammerwork_operator_schedule_delay_seconds",
            "Time from a scheduled time to the creation of its JobBatch.",
            buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 600, 3_600, 86_400),
            registry=self.registry,
        )

    @contextmanager
    def reconcile(self, kind: str) -> Iterator[Callable[[str], None]]:
        """Count and time one reconciliation; call what is yielded with the outcome if it is not ``success``."""
        outcome = "success"

        def settle(value: str) -> None:
            nonlocal outcome
            outcome = value

        started = time.perf_counter()
        try:
            yield settle
        finally:
            self._reconciles.labels(kind, outcome).inc()
            self._reconcile_seconds.labels(kind).observe(time.perf_counter() - started)
