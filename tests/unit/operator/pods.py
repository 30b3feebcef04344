"""Pods as the API server has them, for the tests of the pure parts."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

RUNNING: Manifest = {"running": {"startedAt": "2026-05-01T11:00:00Z"}}
CREATING: Manifest = {"waiting": {"reason": "ContainerCreating"}}
BACK_OFF: Manifest = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}


def waiting(reason: str, message: str) -> Manifest:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, *, reason: str = "Error", message: str = "", container: str = "containerd://1") -> Manifest:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "containerID": container}}


def container(state: Manifest, last: Manifest | None = None, *, name: str = "worker", ready: bool = False) -> Manifest:
    return {"name": name, "ready": ready, "state": state, "lastState": last or {}, "containerID": "containerd://2"}


def pod(*containers: Manifest, name: str = "p", uid: str = "", **status: Any) -> Manifest:
    ready = bool(containers) and all(each["ready"] for each in containers)
    return {
        "metadata": {
            "namespace": "mail",
            "name": name,
            "uid": uid or f"uid-{name}",
            "creationTimestamp": "2026-05-01T11:59:00Z",
            "labels": {"hammerwork.io/pool": "mailers", "pod-template-hash": "1"},
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": list(containers),
            **status,
        },
    }


def of(manifest: Manifest, **metadata: Any) -> Manifest:
    """Return the Pod with other metadata."""
    return {**manifest, "metadata": {**manifest["metadata"], **metadata}}
