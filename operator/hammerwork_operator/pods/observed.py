"""A worker Pod as it was last seen: only what decisions need, since there may be thousands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.api import names
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.pods import causes

if TYPE_CHECKING:
    from collections.abc import Mapping

_OVER = {"Succeeded", "Failed"}
_CREATING = {"ContainerCreating", "PodInitializing"}


class Loss(msgspec.Struct, frozen=True):
    """A worker's process of a Pod has ended, and not well."""

    container: str
    """Id of its container; empty where it is not known."""
    certain: bool
    """Whether no worker runs in the Pod, nor will: it goes, and the kubelet says that its container has ended.

    Else a container may have been started again, or the node may not know yet that the Pod was deleted.
    """


class ObservedPod(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a worker Pod."""

    name: str
    uid: str
    created: str
    """metadata.creationTimestamp."""
    template: str
    """Tells Pods of one template from those of another."""
    started: bool
    """Its containers have been started."""
    ready: bool
    leaving: bool
    """It is being deleted, or has ended for good."""
    creating: bool
    """It is on a node, and its containers neither run nor say why not."""
    cause: Obstacle | None
    """Why it does not work."""
    loss: Loss | None
    cost: int
    """What costs its deletion, as the annotation says."""


def observe(manifest: Mapping[str, Any], *, deleted: bool = False) -> ObservedPod:
    """Return what is to be known of a Pod; `deleted`: it was so, and is gone."""
    metadata, state = manifest["metadata"], manifest.get("status") or {}
    leaving = deleted or "deletionTimestamp" in metadata or state.get("phase") in _OVER
    cause = None if leaving else causes.of_pod(manifest)
    return ObservedPod(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        template=(metadata.get("labels") or {}).get(names.LABEL_TEMPLATE_HASH, ""),
        started=state.get("phase") == "Running",
        ready=conditions.holds(state.get("conditions"), "Ready"),
        leaving=leaving,
        creating=cause is None and not leaving and _is_creating(state),
        cause=cause,
        loss=_loss(state, leaving=leaving, deleted=deleted),
        cost=_cost(metadata),
    )


def _is_creating(state: Mapping[str, Any]) -> bool:
    statuses = [*(state.get("initContainerStatuses") or ()), *(state.get("containerStatuses") or ())]
    waiting = [(status.get("state") or {}).get("waiting") or {} for status in statuses]
    return any(each.get("reason") in _CREATING for each in waiting)


def _loss(state: Mapping[str, Any], *, leaving: bool, deleted: bool) -> Loss | None:
    found = [each for each in state.get("containerStatuses") or () if each["name"] == names.WORKER_CONTAINER]
    now = (found[0].get("state") or {}) if found else {}
    ended = now.get("terminated") or (("waiting" in now and found[0].get("lastState")) or {}).get("terminated")
    if ended is not None:
        if ended.get("exitCode") == 0:
            return None  # a worker that ends by itself has given back what it held
        return Loss(ended.get("containerID", ""), certain=leaving and "terminated" in now)
    if deleted and "running" in now:
        return Loss(found[0].get("containerID", ""), certain=False)
    return None


def _cost(metadata: Mapping[str, Any]) -> int:
    try:
        return int((metadata.get("annotations") or {}).get(names.ANNOTATION_DELETION_COST, 0))
    except ValueError:
        return 0
