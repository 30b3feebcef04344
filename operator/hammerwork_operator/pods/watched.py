"""The worker Pods of all pools, as the watch brings them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork_operator.api.names import LABEL_POOL
from hammerwork_operator.kube.workqueue import Key
from hammerwork_operator.pods.observed import ObservedPod, observe

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What the news of a Pod means."""

    pool: Key
    pod: ObservedPod
    cause: bool
    """Whether what keeps it from working is another thing than before."""
    loss: bool
    """Whether its worker has been lost since."""


class WatchedPods:
    """Pods by their pool."""

    def __init__(self) -> None:
        self._pools: dict[Key, dict[str, ObservedPod]] = {}

    def seen(self, manifest: Manifest, *, deleted: bool) -> Change:
        """Take note of a Pod as the API server has it now."""
        metadata = manifest["metadata"]
        pool = (metadata["namespace"], (metadata.get("labels") or {}).get(LABEL_POOL, ""))
        pods = self._pools.setdefault(pool, {})
        pod = observe(manifest, deleted=deleted)
        before = pods.get(pod.uid)
        if deleted:
            self.forget(pool, pod.uid)
        else:
            pods[pod.uid] = pod
        return Change(
            pool=pool,
            pod=pod,
            cause=_shown(before) != _shown(None if deleted else pod),
            loss=pod.loss is not None and (before is None or before.loss != pod.loss),
        )

    def forget(self, pool: Key, uid: str) -> None:
        """Take note that a Pod is gone."""
        pods = self._pools.get(pool, {})
        pods.pop(uid, None)
        if not pods:
            self._pools.pop(pool, None)

    def of(self, pool: Key) -> list[ObservedPod]:
        """Return the Pods of a pool."""
        return list(self._pools.get(pool, {}).values())


def _shown(pod: ObservedPod | None) -> object:
    return (None, False) if pod is None or pod.leaving else (pod.cause, pod.creating)
