"""Manifests of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from tests.harness.manifests import Manifest

HANDLERS = "e2e-handlers"


def handlers() -> Manifest:
    """The ConfigMap that brings handlers.py into the worker Pods."""
    source = Path(__file__).with_name("handlers.py").read_text()
    metadata = {"name": HANDLERS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"handlers.py": source}}


def pool(name: str, function: str, *, concurrency: int = 10, **spec: Any) -> Manifest:
    """A WorkerPool for the queue of its own name, which finds its handler in a ConfigMap."""
    mount = {"name": "handlers", "mountPath": "/app/handlers", "readOnly": True}
    template = {
        "spec": {
            # Otherwise the worker would be process 1 of its container, which no signal from inside can kill.
            "shareProcessNamespace": True,
            "volumes": [{"name": "handlers", "configMap": {"name": HANDLERS}}],
            "containers": [{"name": "worker", "volumeMounts": [mount]}],
        }
    }
    function = f"handlers:{function}"
    return workerpool(name, queue=name, function=function, concurrency=concurrency, template=template, **spec)


def batch(name: str, count: int, *, queue: str = "", payload: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    """A JobBatch of generated jobs, for the queue of its own name where no other is given."""
    payload = {"index": "{{ index }}", **(payload or {})}
    return jobbatch(name, queue=queue or name, generate={"count": count, "payload": payload}, **spec)


def worker_pods(pool_name: str) -> str:
    """The label selector of a pool's Pods."""
    return f"hammerwork.io/pool={pool_name}"
