"""Finds out which Pods have gone unseen: after a break, a watch tells what is there, and nothing of what is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hammerwork_operator.api.names import LABEL_POOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.workqueue import Key
    from hammerwork_operator.pods.watched import WatchedPods

PAUSE_SECONDS = 30.0
"""The Pods of one pool are listed at most this often."""


class MissedDeletions:
    """Has Pods forgotten that are not there any more."""

    def __init__(self, server: ApiServer, pods: WatchedPods, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._pods = pods
        self._clock = clock
        self._listed_at: dict[Key, float] = {}

    async def look(self, pool: Key, replicas: int) -> None:
        """List the pool's Pods if more of them are known than its Deployment has.

        Raises:
            ApiError: The API server does not answer.
        """
        known = [pod for pod in self._pods.of(pool) if not pod.leaving]
        if len(known) <= replicas or self._clock() - self._listed_at.get(pool, float("-inf")) < PAUSE_SECONDS:
            return
        self._listed_at[pool] = self._clock()
        there = await self._server.pod_uids(pool[0], f"{LABEL_POOL}={pool[1]}")
        for pod in known:
            if pod.uid not in there:
                self._pods.forget(pool, pod.uid)

    def forget(self, pool: Key) -> None:
        """Take note that the pool is gone."""
        self._listed_at.pop(pool, None)
