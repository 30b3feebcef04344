"""What the API and the Deployment of a WorkerPool say of a worker is what the worker itself knows."""

from __future__ import annotations

from typing import Any

import msgspec

from hammerwork.handlers import KINDS, HandlerReference
from hammerwork.working import variables
from hammerwork.working.settings import DEFAULTS, MAX_CONCURRENCY, MAX_GRACE_SECONDS, MAX_POLL_SECONDS
from hammerwork_operator.api.workerpool import HandlerSpec, WorkerPoolSpec
from hammerwork_operator.crd import structural_schema
from hammerwork_operator.workerpool.deployment import build_deployment
from hammerwork_worker.environment import ContainerSettings, read_settings
from tests.unit.operator.builders import pool


def told() -> dict[str, str]:
    """The environment of the worker's container, as far as its values stand in the Deployment."""
    deployment = build_deployment(pool(), default_image="registry/worker:1", secret_version="5", workers=1)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_the_api_has_the_kinds_of_handlers_of_the_library() -> None:
    described: dict[str, Any] = structural_schema(HandlerSpec)["properties"]
    assert {
        kind: {name: field.get("pattern") for name, field in schema["properties"].items()}
        for kind, schema in described.items()
    } == {kind.name: {name: field.pattern for name, field in kind.fields.items()} for kind in KINDS}


def test_the_container_is_told_of_the_handler() -> None:
    handler = HandlerReference.from_manifest(msgspec.to_builtins(pool().spec.handler)).environment()
    assert handler.items() <= told().items()


def test_a_pool_that_sets_nothing_has_the_workers_defaults() -> None:
    url = "postgresql://db/hammerwork"
    assert read_settings({**told(), variables.DATABASE_URL: url}) == ContainerSettings(
        database_url=url,
        queue="email",
        pool="mailers",
        handler=HandlerReference("python", {"function": "handlers:send"}),
    )


def test_the_api_allows_what_the_worker_allows() -> None:
    described: dict[str, Any] = structural_schema(WorkerPoolSpec)["properties"]
    assert {
        name: (described[name]["default"], described[name]["maximum"])
        for name in ("concurrency", "pollIntervalMilliseconds", "shutdownGracePeriodSeconds")
    } == {
        "concurrency": (DEFAULTS.concurrency, MAX_CONCURRENCY),
        "pollIntervalMilliseconds": (DEFAULTS.poll_interval_seconds * 1000, MAX_POLL_SECONDS * 1000),
        "shutdownGracePeriodSeconds": (DEFAULTS.shutdown_grace_period_seconds, MAX_GRACE_SECONDS),
    }
    assert described["batchProcessing"]["default"] is DEFAULTS.batch_processing
