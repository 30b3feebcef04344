"""Computes the status of a WorkerPool. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.situation import Situation, changed
from hammerwork_operator.workerpool.deployment import selector_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hammerwork_operator.kube.situation import Obstacle, Status
    from hammerwork_operator.workerpool.observed import ObservedPool
    from hammerwork_operator.workerpool.queue_status import Scaled


_UNEXPLAINED = {Reason.PROGRESSING, Reason.PROGRESS_DEADLINE_EXCEEDED}


def compute(
    pool: ObservedPool,
    deployment: Mapping[str, Any] | None,
    obstacle: Obstacle | None,
    now: datetime,
    *,
    scaled: Scaled,
    cause: Obstacle | None = None,
) -> Status:
    """Return the whole status: of the Deployment as the API server has it, or of what is in its way; of the queue.

    `cause` is why Pods of the latest template do not work, if it is known.
    """
    situation = _situation(pool, deployment, obstacle, scaled.workers)
    if cause is not None and deployment is not None and situation.reason in _UNEXPLAINED:
        situation = _explained(situation, deployment, cause)
    counts = (deployment or {}).get("status") or {}
    status: Status = {
        "observedGeneration": pool.generation,
        "replicas": counts.get("replicas", 0),
        "readyReplicas": counts.get("readyReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(selector_labels(pool).items())),
        **scaled.stated(),
    }
    previous, wanted = pool.status.get("conditions") or (), [*situation.conditions(), *scaled.conditions]
    status["conditions"] = conditions.merge(previous, wanted, generation=pool.generation, now=now)
    return status


def _situation(
    pool: ObservedPool, deployment: Mapping[str, Any] | None, obstacle: Obstacle | None, wanted: int
) -> Situation:
    if obstacle is not None:
        return Situation.behind(obstacle)
    if deployment is None:
        message = f"Deployment {pool.deployment_name} does not exist yet"
        return Situation(ready=False, reason=Reason.PROGRESSING, message=message, reconciling=True)
    state = deployment.get("status") or {}
    stated = state.get("conditions")
    progressing = conditions.find(stated, "Progressing")
    if progressing is not None and progressing.get("reason") == Reason.PROGRESS_DEADLINE_EXCEEDED:
        reason, message = Reason.PROGRESS_DEADLINE_EXCEEDED, progressing.get("message", "")
        return Situation(ready=False, reason=reason, message=message, stalled=True)
    failure = conditions.find(stated, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        reason, message = Reason.REPLICA_FAILURE, failure.get("message", "")
        return Situation(ready=False, reason=reason, message=message, reconciling=True)
    return _progress(deployment, state, wanted)


def _progress(deployment: Mapping[str, Any], state: Mapping[str, Any], wanted: int) -> Situation:
    available, updated = state.get("availableReplicas", 0), state.get("updatedReplicas", 0)
    seen = state.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    message = f"{available} of {wanted} workers available"
    if seen and updated == wanted and available == wanted and state.get("replicas", 0) == wanted:
        return Situation(ready=True, reason=Reason.AVAILABLE, message=message)
    if updated != wanted or not seen:
        message += f", {updated} up to date"
    return Situation(ready=False, reason=Reason.PROGRESSING, message=message, reconciling=True)


def _explained(situation: Situation, deployment: Mapping[str, Any], cause: Obstacle) -> Situation:
    state = deployment.get("status") or {}
    if state.get("observedGeneration", 0) < deployment["metadata"]["generation"] or not state.get("updatedReplicas"):
        return situation  # the Pods that are there have a template that is replaced
    stalled = situation.stalled or not cause.passing
    message = f"{situation.message}; {cause.message}"
    return Situation(ready=False, reason=cause.reason, message=message, reconciling=not stalled, stalled=stalled)


def notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Note]:
    """Return the events that the change from one status to the other deserves."""
    now = changed(before, after)
    if now is None or now["reason"] == Reason.PROGRESSING:
        return []
    return [Note(reason=Reason(now["reason"]), message=now["message"], warning=now["status"] != "True")]
