"""Follows the queues of all pools, and remembers what `scaling` decided for each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool import queue_status, scaling
from hammerwork_operator.workerpool.following import QueueFollower
from hammerwork_operator.workerpool.history import History
from hammerwork_operator.workerpool.queue_status import Scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.workqueue import Key
    from hammerwork_operator.metrics import Metrics
    from hammerwork_operator.workerpool.facts import Facts
    from hammerwork_operator.workerpool.observed import ObservedPool


@dataclass
class _Memory:
    uid: str
    follower: QueueFollower | None = None
    history: History = field(default_factory=History)
    workers: int | None = None
    """As the Deployment has it; None before it was looked at."""
    looked: bool = False
    obstacle: Obstacle | None = None
    """Why the Secret does not lead to a database."""
    hindered: bool = False
    """Whether something was in the way of the Deployment."""
    scaled_at: str | None = None


class Scaler:
    """Says how many workers each pool is to have. Nothing in it waits."""

    def __init__(self, databases: Databases, metrics: Metrics, wake: Callable[[Key], None]) -> None:
        """Take the databases, and what to call whenever there is news of a pool's queue."""
        self._databases = databases
        self._metrics = metrics
        self._wake = wake
        self._memories: dict[Key, _Memory] = {}

    def follow(self, key: Key, pool: ObservedPool) -> None:
        """Follow the pool's queue from now on."""
        memory = self._memories.get(key)
        if memory is None or memory.uid != pool.uid:
            self.forget(key)
            memory = self._memories[key] = _Memory(pool.uid)
        if pool.problem is not None or (memory.follower is not None and memory.follower.serves(pool)):
            return
        if memory.follower is not None:
            memory.follower.stop()
        memory.follower = QueueFollower(self._databases, self._metrics, pool, lambda: self._wake(key))

    def forget(self, key: Key) -> None:
        """Follow it no longer."""
        memory = self._memories.pop(key, None)
        if memory is not None and memory.follower is not None:
            memory.follower.stop()

    def stop(self) -> None:
        """Follow nothing any longer."""
        for key in list(self._memories):
            self.forget(key)

    def decide(self, key: Key, pool: ObservedPool, facts: Facts) -> Scaled:
        """Return how many workers there are to be, from what is there now."""
        memory = self._memories[key]
        memory.looked, memory.obstacle, memory.hindered = True, facts.obstacle, True
        if facts.deployment is not None:
            memory.workers = facts.deployment["spec"]["replicas"]
        return self._decide(memory, pool)

    def carried_out(
        self, key: Key, pool: ObservedPool, scaled: Scaled, before: Mapping[str, Any] | None, now: datetime
    ) -> tuple[Scaled, list[Note]]:
        """Take note that the Deployment has the wanted number; return that with the time, and the events to record."""
        memory = self._memories.get(key)
        if memory is None:
            return scaled, []
        memory.workers, memory.hindered = scaled.workers, False
        rules = pool.spec.autoscaling
        if before is None or rules is UNSET or before["spec"]["replicas"] == scaled.workers:
            return scaled, []
        change = scaled.workers - before["spec"]["replicas"]
        memory.history = memory.history.rescaled(time.monotonic(), change, rules.behavior)
        memory.scaled_at = conditions.timestamp(now)
        note = Note(reason=Reason.SUCCESSFUL_RESCALE, message=f"New size: {scaled.workers}; reason: {scaled.cause}")
        return msgspec.structs.replace(scaled, scaled_at=memory.scaled_at), [note]

    def has_news(self, key: Key, pool: ObservedPool, *, progress_too: bool) -> bool:
        """Return whether the pool should get another number of workers, or another status.

        `progress_too` says whether counts that change all the time are a reason.
        """
        memory = self._memories.get(key)
        if memory is None or not memory.looked:
            return False
        scaled = self._decide(memory, pool)
        if scaled.workers != memory.workers and not memory.hindered:
            return True
        stated = pool.status.get("conditions")
        if any(_differs(wanted, conditions.find(stated, wanted["type"])) for wanted in scaled.conditions):
            return True
        return progress_too and any(pool.status.get(name) != scaled.fields.get(name) for name in queue_status.FIELDS)

    def _decide(self, memory: _Memory, pool: ObservedPool) -> Scaled:
        scaled_at = memory.scaled_at or pool.status.get("lastScaleTime")
        if pool.problem is not None:
            return Scaled(workers=memory.workers or 0, scaled_at=scaled_at)
        assert memory.follower is not None
        backlog = memory.obstacle or memory.follower.backlog
        fields = memory.follower.fields
        unknown = backlog is None
        if backlog is None:
            # Until the database has answered for the first time, the status says what the one before has said.
            backlog = scaling.NOT_ASKED
            fields = {name: pool.status[name] for name in queue_status.FIELDS if name in pool.status}
        decision = scaling.decide(pool.spec, backlog, memory.workers, memory.history, time.monotonic())
        memory.history = decision.history
        stated = decision.conditions
        if unknown and pool.spec.autoscaling is not UNSET:
            kept = (conditions.find(pool.status.get("conditions"), kind) for kind in _SCALING)
            stated = [{name: each[name] for name in _SAID} for each in kept if each is not None]
        return Scaled(
            workers=decision.workers,
            conditions=stated,
            cause=decision.cause,
            fields=fields,
            scaled_at=scaled_at if pool.spec.autoscaling is not UNSET else None,
            obstacle=backlog if isinstance(backlog, Obstacle) and not unknown else None,
        )


_SCALING = (Type.SCALING_ACTIVE, Type.SCALING_LIMITED)
_SAID = ("type", "status", "reason", "message")


def _differs(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    return found is None or any(found[name] != wanted[name] for name in _SAID)
