"""Objects and facts for the tests of the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hammerwork import BatchState, BatchStatus, PartialFailureMode
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.jobbatch.observed import ObservedBatch, observe
from hammerwork_operator.workerpool import observed as pools
from tests.harness import verdicts
from tests.harness.manifests import API_VERSION

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def manifest(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "mail",
            "name": "welcome",
            "uid": "uid-1",
            "generation": 1,
            "resourceVersion": "7",
            "finalizers": [FINALIZER],
            **metadata,
        },
        "spec": {"queue": "email", "jobs": [{"payload": 1}, {"payload": 2}], **(spec or {})},
    }


def batch(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> ObservedBatch:
    return observe({**manifest(spec, **metadata), "status": status or {}})


def row(of: ObservedBatch, state: BatchState = BatchState.RUNNING, **fields: Any) -> BatchStatus:
    values: dict[str, Any] = {
        "batch_id": of.batch_id,
        "name": f"{of.namespace}/{of.name}",
        "queue": of.spec.queue,
        "state": state,
        "suspended": False,
        "failure_mode": PartialFailureMode.CONTINUE_ON_ERROR,
        "total_jobs": 2,
        "running_jobs": 0,
        "completed_jobs": 0,
        "failed_jobs": 0,
        "cancelled_jobs": 0,
        "metadata": {},
        "fingerprint": of.fingerprint,
        "created_at": ago(10),
        "started_at": ago(9),
        "finished_at": None,
        **fields,
    }
    finished = values["completed_jobs"] + values["failed_jobs"] + values["cancelled_jobs"]
    return BatchStatus(**{"pending_jobs": values["total_jobs"] - finished, **values})


def pool(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> pools.ObservedPool:
    return pools.observe(
        {
            "metadata": {
                "namespace": "mail",
                "name": "mailers",
                "uid": "uid-2",
                "generation": 3,
                "resourceVersion": "9",
            },
            "spec": {"queue": "email", "handler": {"python": {"function": "handlers:send"}}, **(spec or {})},
            "status": status or {},
        }
    )


def condition(of: dict[str, Any], kind: str) -> str:
    """Return e.g. "True Running", or "-" where there is no such condition."""
    found = [entry for entry in of["conditions"] if entry["type"] == kind]
    assert len(found) <= 1
    return f"{found[0]['status']} {found[0]['reason']}" if found else "-"


def kstatus(of: dict[str, Any], generation: int = 1) -> str:
    """The verdict of Flux, Helm and others on a status of a JobBatch."""
    object_ = {"apiVersion": API_VERSION, "kind": "JobBatch", **manifest(generation=generation), "status": of}
    return verdicts.kstatus([object_])[0]
