"""Which queues the WorkerPools of each namespace work on, as far as JobBatches are concerned. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest

Served = tuple[str, str]
"""A namespace, and a queue that a pool in it works on."""


class ServingPools:
    """The pools that have workers, or get them when there are jobs. Nothing is known before they were `listed`."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str], tuple[str, Served]] = {}
        """By the pool's namespace and name: its uid, and what it works on."""
        self._pools: Counter[Served] = Counter()
        self._listed = False

    def listed(self) -> None:
        """Take note that all pools there are have been seen."""
        self._listed = True

    def seen(self, manifest: Manifest, *, deleted: bool) -> set[Served]:
        """Take note of a pool; return the queues for which this may change something."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        uid, before = self._served.get(key, (metadata["uid"], None))
        if deleted and uid != metadata["uid"]:
            return set()  # another has its name
        queue = None if deleted or "deletionTimestamp" in metadata else _queue_of(manifest.get("spec") or {})
        now = None if queue is None else (key[0], queue)
        self._served.pop(key, None)
        if now is not None:
            self._served[key] = (metadata["uid"], now)
            self._pools[now] += 1
        if before is not None:
            self._pools[before] -= 1
            if not self._pools[before]:
                del self._pools[before]
        return set() if before == now else {each for each in (before, now) if each is not None}

    def serve(self, namespace: str, queue: str) -> bool | None:
        """Return whether a pool of the namespace works on the queue; None if that is not known yet."""
        return (namespace, queue) in self._pools if self._listed else None


def _queue_of(spec: Manifest) -> str | None:
    """Return the queue that a pool works on: also one that its autoscaling has at zero, but not one of no replicas."""
    works = spec.get("autoscaling") is not None or spec.get("replicas", 1) != 0
    return str(spec.get("queue")) if works else None
