"""What the cluster says of a Pod whose containers are not created: only Events tell of a volume that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork_operator.kube.conditions import moment
from hammerwork_operator.pods import causes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.pods.observed import ObservedPod

PATIENCE_SECONDS = 3.0
"""Containers may take so long to be created before the Events are read."""
AGAIN_SECONDS = 2.0
"""How soon a pool is looked at again, at the earliest, while the containers of a Pod are created."""
AGAIN_SHARE = 0.25
"""The same as a share of the time that has passed since: where the images of many pools are pulled for minutes, each of
them is looked at ever more seldom."""


async def explained(
    server: ApiServer, namespace: str, pods: Iterable[ObservedPod], now: datetime
) -> tuple[list[ObservedPod], float]:
    """Return the Pods with what Events say of one whose containers are not created, and when to look again, if at all.

    One stands for all: they have one template, and each of them costs a request. The time is in seconds from now, 0
    where there is nothing to look at.
    """
    pods = list(pods)
    oldest = causes.unexplained(pods)
    if oldest is None:
        return pods, 0.0
    age = (now - moment(oldest.created)).total_seconds()
    if age >= PATIENCE_SECONDS:
        cause = causes.of_events(await server.warnings_about(namespace, oldest.uid))
        pods = [msgspec.structs.replace(pod, cause=cause) if pod is oldest else pod for pod in pods]
    return pods, max(AGAIN_SECONDS, AGAIN_SHARE * age)
