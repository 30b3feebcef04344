"""Has the claims of workers recovered whose Pods are gone, so that nobody waits for their leases."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hammerwork.errors import HammerworkError
from hammerwork.timing import LEASE_SECONDS
from hammerwork_operator.databases.secrets import SecretProblemError
from hammerwork_operator.kube.workqueue import Workqueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork_operator.api.common import DatabaseSecretRef
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.workqueue import Key
    from hammerwork_operator.metrics import Metrics

_LOGGER = logging.getLogger(__name__)
KIND = "Pod"
AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 2 * LEASE_SECONDS
"""After this, whatever is left is left to the lease."""


@dataclass
class _Lost:
    certain: bool
    since: float = field(default_factory=time.monotonic)


class ClaimRecovery:
    """Asks the pool's database to forget workers, by the uids of their Pods, until it has.

    Uids are those of Pods that this operator has seen, in its own cluster; so no other cluster's worker is ever meant.
    """

    def __init__(
        self, databases: Databases, metrics: Metrics, secret_of: Callable[[Key], DatabaseSecretRef | None]
    ) -> None:
        self._databases = databases
        self._secret_of = secret_of
        self._lost: dict[Key, dict[str, _Lost]] = {}
        self._queue = Workqueue(KIND, self._recover, metrics)

    def lost(self, pool: Key, uid: str, *, certain: bool) -> None:
        """Have recovered what the worker of this Pod held; unless its end is `certain`, only once it is silent."""
        self._lost.setdefault(pool, {})[uid] = _Lost(certain)
        self._queue.add(pool)

    def works(self, pool: Key, uid: str) -> None:
        """Take note that a worker runs in this Pod (again)."""
        self._lost.get(pool, {}).pop(uid, None)

    async def stop(self) -> None:
        """End all work."""
        await self._queue.stop()

    async def _recover(self, pool: Key) -> float | None:
        lost = self._lost.get(pool, {})
        for uid, each in list(lost.items()):
            if time.monotonic() - each.since > PATIENCE_SECONDS:
                del lost[uid]
        if not lost:
            self._lost.pop(pool, None)
            return None
        secret = self._secret_of(pool)
        if secret is not None:
            try:
                await self._forget(pool, secret, dict(lost))
            except (HammerworkError, SecretProblemError) as error:
                _LOGGER.warning("WorkerPool %s/%s: claims of lost Pods are not recovered yet: %s", *pool, error)
        return AGAIN_SECONDS if lost else 0.0

    async def _forget(self, pool: Key, secret: DatabaseSecretRef, lost: dict[str, _Lost]) -> None:
        queue = (await self._databases.database(pool[0], secret)).queue
        await queue.check_version()
        await queue.upkeep()  # with no worker left, nobody else moves the clock by which a worker is silent
        for certain in (True, False):
            uids = {uid for uid, each in lost.items() if each.certain is certain}
            if not uids:
                continue
            for uid in uids - await queue.forget_workers(uids, certain=certain):
                _LOGGER.info("WorkerPool %s/%s: the worker in Pod %s has ended; none of its claims is left", *pool, uid)
                if self._lost.get(pool, {}).get(uid) is lost[uid]:
                    del self._lost[pool][uid]
