"""What the API and the Deployment of a WorkerPool say of a worker is what the worker itself knows."""

from __future__ import annotations

from typing import Any

import msgspec

from hammerwork.handlers import KINDS, HandlerReference
from hammerwork_operator.api.crd import structural_schema
from hammerwork_operator.api.workerpool import HandlerSpec
from hammerwork_operator.workerpool.deployment import build_deployment
from tests.unit.operator.builders import pool

SECRET = {"metadata": {"uid": "s", "resourceVersion": "5"}, "data": {"url": "cGc="}}


def variables() -> dict[str, str]:
    """The environment of the worker's container, as far as its values stand in the Deployment."""
    deployment = build_deployment(pool(), default_image="registry/worker:1", secret=SECRET)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_the_api_has_the_kinds_of_handlers_of_the_library() -> None:
    described: dict[str, Any] = structural_schema(HandlerSpec)["properties"]
    assert {
        kind: {name: field.get("pattern") for name, field in schema["properties"].items()}
        for kind, schema in described.items()
    } == {kind.name: {name: field.pattern for name, field in kind.fields.items()} for kind in KINDS}


def test_the_container_is_told_of_the_handler() -> None:
    told = HandlerReference.from_manifest(msgspec.to_builtins(pool().spec.handler)).environment()
    assert told.items() <= variables().items()
