"""Which Pods a smaller pool is to do without: those whose workers hold the fewest jobs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hammerwork_operator.pods.observed import ObservedPod

MAX_WRITES = 200
"""So many Pods are written to before one step down, at most; beyond that, chance may choose."""
GOES, STAYS = -1, 1


def changes(pods: Iterable[ObservedPod], loads: Mapping[str, int], *, keep: int) -> dict[str, int]:
    """Return the costs to write, by the Pods' names.

    The ReplicaSet takes Pods that are not ready first, then those of the lowest cost; a Pod without one has 0. What is
    written is the shorter list: those that go, or those that stay.

    Args:
        pods: All Pods of the pool.
        loads: Jobs in the hands of the worker of each Pod, by the Pod's uid.
        keep: How many Pods are left.
    """
    staying = [pod for pod in pods if not pod.leaving]
    ready = sorted((pod for pod in staying if pod.ready), key=lambda pod: (loads.get(pod.uid, 0), pod.name))
    excess = len(ready) - keep  # what is not ready goes anyway
    if not 0 < excess < len(ready) or len({loads.get(pod.uid, 0) for pod in ready}) == 1:
        return {}
    few, cost = (ready[:excess], GOES) if excess <= keep else (ready[excess:], STAYS)
    wanted = {pod.uid: cost for pod in few}
    different = {pod.name: wanted.get(pod.uid, 0) for pod in ready if wanted.get(pod.uid, 0) != pod.cost}
    return dict(list(different.items())[:MAX_WRITES])
