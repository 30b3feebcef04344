"""What is known of a WorkerPool beside the object itself. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.api.common import Manifest
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hammerwork_operator.workerpool.observed import ObservedPool


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the API server says of a pool's Deployment and Secret."""

    deployment: Manifest | None = None
    """The pool's Deployment, if there is one; also one that the pool may adopt."""
    name_taken: bool = False
    """Whether there is a Deployment of that name which is not the pool's."""
    secret_version: str = ""
    """Changes whenever the Secret does."""
    configmap_checksum: str = ""
    """Changes whenever the ConfigMaps do for which the Pods are to be replaced; empty where there are none."""
    obstacle: Obstacle | None = None
    """Why the Secret does not lead to a database, or why a ConfigMap cannot be read."""


def is_owned(deployment: Mapping[str, Any], pool: ObservedPool) -> bool:
    """Return whether the Deployment is the pool's."""
    owners = deployment["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == pool.uid for owner in owners)


def secret_version(secret: Mapping[str, Any]) -> str:
    """Return a text that changes whenever the Secret does, and that tells nothing of its content."""
    metadata = secret["metadata"]
    return hashlib.sha256(f"{metadata['uid']}/{metadata['resourceVersion']}".encode()).hexdigest()[:16]
