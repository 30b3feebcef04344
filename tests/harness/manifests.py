"""Kubernetes objects as users write them."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]

API_VERSION = "hammerwork.io/v1alpha1"


def jobbatch(name: str, *, queue: str = "work", **spec: Any) -> Manifest:
    """Return a JobBatch."""
    return _ours("JobBatch", name, {"queue": queue, **spec})


def workerpool(name: str, *, queue: str = "work", function: str = "handlers:run", **spec: Any) -> Manifest:
    """Return a WorkerPool whose handler is a Python function."""
    return _ours("WorkerPool", name, {"queue": queue, "handler": {"python": {"function": function}}, **spec})


def schedule(name: str, when: str, *, template: Manifest | None = None, **spec: Any) -> Manifest:
    """Return a JobBatchSchedule; `template` is the spec of its JobBatches."""
    batch = template or {"queue": "work", "jobs": [{"payload": "{{ scheduledTime }}"}]}
    return _ours("JobBatchSchedule", name, {"schedule": when, "template": {"spec": batch}, **spec})


def secret(url: str, name: str = "hammerwork-database", key: str = "url") -> Manifest:
    """Return a Secret with a database URL."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: url}}


def as_file(*documents: Manifest | None) -> str:
    """Return a file with these documents; in JSON, since kubectl reads some YAML otherwise than PyYAML writes it."""
    return "\n---\n".join("" if document is None else json.dumps(document) for document in documents)


def _ours(kind: str, name: str, spec: dict[str, Any]) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
