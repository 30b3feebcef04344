"""A worker's settings: they reach the worker, and a worker that nothing is told has their defaults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork import Worker
from hammerwork.handlers import HandlerReference
from hammerwork.working.settings import DEFAULTS, ProcessSettings, WorkerSettings

if TYPE_CHECKING:
    from hammerwork import Job

QUEUE: Any = SimpleNamespace(backend=None)
"""No worker is run here."""


async def handler(job: Job) -> None: ...


def seen(worker: Worker) -> WorkerSettings:
    """What a worker says of itself."""
    record = worker._record()
    return WorkerSettings(
        queue=record.queue,
        pool=record.pool,
        instance=record.instance,
        concurrency=record.lanes,
        poll_interval_seconds=worker._pump.poll_interval,
        batch_processing=worker._batch_processing,
        shutdown_grace_period_seconds=worker._grace_period,
        lease_seconds=record.lease_seconds,
    )


async def test_a_worker_is_what_its_settings_describe() -> None:
    settings = WorkerSettings(
        queue="email",
        pool="mailers",
        instance="pod-1",
        concurrency=3,
        poll_interval_seconds=0.25,
        batch_processing=False,
        shutdown_grace_period_seconds=5.0,
        lease_seconds=12.0,
    )
    plain = msgspec.structs.asdict(WorkerSettings(queue="q"))
    told = msgspec.structs.asdict(settings)
    assert all(told[name] != plain[name] for name in plain), "each field differs, so that none is forgotten"
    assert seen(Worker.from_settings(QUEUE, settings, handler)) == settings


async def test_a_worker_that_is_told_nothing_has_the_defaults() -> None:
    assert seen(Worker(QUEUE, "", handler)) == DEFAULTS


def test_settings_travel_to_a_process_as_one_line_of_json() -> None:
    settings = ProcessSettings(
        database_url="postgresql://db/x", queue="q", handler=HandlerReference.from_text("handlers:run"), concurrency=2
    )
    line = msgspec.json.encode(settings)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=ProcessSettings) == settings
