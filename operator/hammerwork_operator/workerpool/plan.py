"""Decides which Deployment a WorkerPool is to have. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork_operator.api.common import Manifest
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.deployment import build_deployment
from hammerwork_operator.workerpool.template import InvalidTemplateError

if TYPE_CHECKING:
    from hammerwork_operator.workerpool.facts import Facts
    from hammerwork_operator.workerpool.observed import ObservedPool

SECRET_SECONDS = 10.0
"""How often Secret and ConfigMaps are looked at: they are read by name, never watched."""
OBSTACLE_SECONDS = 3.0
"""How soon what a person has to cure is looked at again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The Deployment to apply, or what is in the way of it."""

    deployment: Manifest | None = None
    obstacle: Obstacle | None = None

    @property
    def after(self) -> float:
        """Seconds after which to look again, even if nothing changes."""
        return SECRET_SECONDS if self.obstacle is None else OBSTACLE_SECONDS


def decide(pool: ObservedPool, facts: Facts, *, default_image: str, workers: int) -> Plan:
    """Return what to do so that there are so many workers. Of several obstacles, the pool's own comes first."""
    if pool.problem is not None:
        return _hindered(Reason.INVALID_SPEC, pool.problem)
    if facts.name_taken:
        message = (
            f"Deployment {pool.deployment_name} is not the pool's: it has another owner, or not the labels that the "
            "operator gives; delete or rename one of them"
        )
        return _hindered(Reason.DEPLOYMENT_CONFLICT, message)
    if facts.obstacle is not None:
        return Plan(obstacle=facts.obstacle)
    try:
        wanted = build_deployment(
            pool,
            default_image=default_image,
            secret_version=facts.secret_version,
            workers=workers,
            configmap_checksum=facts.configmap_checksum,
        )
    except InvalidTemplateError as error:
        return _hindered(Reason.INVALID_SPEC, str(error))
    return Plan(deployment=wanted)


def rejected(message: str) -> Plan:
    """Return the plan after the API server has refused the Deployment."""
    return _hindered(Reason.DEPLOYMENT_REJECTED, message)


def unapplied(message: str) -> Plan:
    """Return the plan after applying the Deployment has failed again, for what may pass by itself."""
    return Plan(obstacle=Obstacle(Reason.APPLY_FAILED, f"applying the Deployment failed: {message}", passing=True))


def _hindered(reason: Reason, message: str) -> Plan:
    return Plan(obstacle=Obstacle(reason, message))
