"""Manifests of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.kubectl import Manifest

API_VERSION = "hammerwork.io/v1alpha1"
HANDLERS = "e2e-handlers"


def handlers() -> Manifest:
    """The ConfigMap that brings handlers.py into the worker Pods."""
    source = Path(__file__).with_name("handlers.py").read_text()
    metadata = {"name": HANDLERS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"handlers.py": source}}


def pool(name: str, function: str, *, replicas: int = 1, concurrency: int = 10) -> Manifest:
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
    spec = {
        "queue": name,
        "replicas": replicas,
        "concurrency": concurrency,
        "handler": {"python": {"function": f"handlers:{function}"}},
        "template": template,
    }
    return {"apiVersion": API_VERSION, "kind": "WorkerPool", "metadata": {"name": name}, "spec": spec}


def batch(name: str, count: int, *, queue: str = "", payload: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    """A JobBatch of generated jobs, for the queue of its own name where no other is given."""
    payload = {"index": "{{ index }}", **(payload or {})}
    content = {"queue": queue or name, "generate": {"count": count, "payload": payload}, **spec}
    return {"apiVersion": API_VERSION, "kind": "JobBatch", "metadata": {"name": name}, "spec": content}


def worker_pods(pool_name: str) -> str:
    """The label selector of a pool's Pods."""
    return f"hammerwork.io/pool={pool_name}"
