"""What a JobBatch waits for before its jobs are loaded: other JobBatches of its namespace. Pure.

The watch brings every JobBatch, so no request is needed. `DependencyIndex` knows which batch waits for which and how
each stands; `of` judges one batch by it. A dependency that has been satisfied stays so: its name is kept in the status
of the batch that waits, whatever becomes of it after that.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from hammerwork_operator.api.dependencies import DependencyCondition, DependencySpec
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube import conditions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hammerwork_operator.jobbatch.observed import ObservedBatch

Key = tuple[str, str]
"""Namespace and name."""

_NAMES_SHOWN = 8


class Standing(enum.Enum):
    """How a JobBatch stands, as far as those that depend on it are concerned."""

    ABSENT = "Absent"
    UNFINISHED = "Unfinished"
    SUCCEEDED = "Succeeded"
    COMPLETE = "Complete"
    """With failed jobs."""
    FAILED = "Failed"


class Dependencies(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the JobBatches that one depends on."""

    satisfied: tuple[str, ...] = ()
    """Those that hold, or have held, in the order of the spec."""
    recorded: bool = True
    """The status says of all of them that they are satisfied; only then may jobs be loaded."""
    reason: Reason | None = None
    """Why the jobs cannot be loaded; None: the dependencies are not in the way."""
    message: str = ""


def standing(observed: ObservedBatch) -> Standing:
    """Return how the JobBatch stands by its own status, if that speaks of this run, or is another controller's."""
    status = observed.status
    if status.get("batchId") != str(observed.batch_id) and not observed.managed_elsewhere:
        return Standing.UNFINISHED
    stated = status.get("conditions")
    if conditions.holds(stated, Type.FAILED):
        return Standing.FAILED
    if not conditions.holds(stated, Type.COMPLETE):
        return Standing.UNFINISHED
    if conditions.find(stated, Type.SUCCEEDED) is None:  # an older operator wrote it
        return Standing.COMPLETE if status.get("failedJobs") or status.get("cancelledJobs") else Standing.SUCCEEDED
    return Standing.SUCCEEDED if conditions.holds(stated, Type.SUCCEEDED) else Standing.COMPLETE


class DependencyIndex:
    """Which JobBatch waits for which, and how each stands. `seen` and `gone` return those to be looked at again."""

    def __init__(self) -> None:
        self._standings: dict[Key, Standing] = {}
        self._waits: dict[Key, frozenset[Key]] = {}
        """For each batch that waits, those of its dependencies that are not recorded as satisfied."""
        self._waiting_for: dict[Key, set[Key]] = {}
        """The same the other way round."""
        self._rings: dict[Key, frozenset[Key]] = {}
        """For each batch that waits for itself in the end, all that do so with it."""
        self._listed = False

    def listed(self) -> None:
        """Take note that all JobBatches there are have been seen."""
        self._listed = True

    def seen(self, observed: ObservedBatch) -> set[Key]:
        """Take note of a JobBatch as it is now."""
        key = (observed.namespace, observed.name)
        woken = self._stands(key, standing(observed))
        return (woken | self._waits_for(key, _unrecorded(observed))) - {key}

    def gone(self, key: Key) -> set[Key]:
        """Take note that there is no such JobBatch any more."""
        woken = self._stands(key, Standing.ABSENT)
        return (woken | self._waits_for(key, frozenset())) - {key}

    def is_awaited(self, key: Key) -> bool:
        """Return whether a batch may wait for this one whose status does not say yet what became of it."""
        return not self._listed or bool(self._waiting_for.get(key))

    def of(self, observed: ObservedBatch) -> Dependencies:
        """Judge the dependencies of a JobBatch."""
        given = _given(observed)
        before = observed.stated.satisfied
        if not given or _is_past_waiting(observed):
            return Dependencies(satisfied=before)
        stand = {each.name: self._standing((observed.namespace, each.name)) for each in given}
        holds = {each.name: each.name in before or _holds(each, stand[each.name]) for each in given}
        satisfied = tuple(each.name for each in given if holds[each.name])
        open_ones = [each for each in given if not holds[each.name]]
        reason, message = self._verdict(observed, open_ones, stand)
        recorded = set(before) >= {each.name for each in given}
        return Dependencies(satisfied=satisfied, recorded=recorded, reason=reason, message=message)

    def _verdict(
        self, observed: ObservedBatch, open_ones: list[DependencySpec], stand: Mapping[str, Standing]
    ) -> tuple[Reason | None, str]:
        failed = [each for each in open_ones if stand[each.name] in {Standing.FAILED, Standing.COMPLETE}]
        if failed:
            return Reason.DEPENDENCY_FAILED, _listed(_failure(each, stand[each.name]) for each in failed)
        key = (observed.namespace, observed.name)
        if (ring := self._rings.get(key)) is not None:
            path = " → ".join(name for _, name in self._path(key, ring))
            message = f"JobBatches wait for each other: {path}; delete one and create it with another dependsOn"
            return Reason.DEPENDENCY_CYCLE, message
        if open_ones:
            wishes = _listed(_wish(each, stand[each.name]) for each in open_ones)
            return Reason.DEPENDENCY_NOT_READY, f"waits for {wishes}"
        return None, ""

    def _standing(self, key: Key) -> Standing:
        return self._standings.get(key, Standing.ABSENT)

    def _stands(self, key: Key, now: Standing) -> set[Key]:
        if self._standing(key) is now:
            return set()
        if now is Standing.ABSENT:
            del self._standings[key]
        else:
            self._standings[key] = now
        return set(self._waiting_for.get(key, ()))

    def _waits_for(self, key: Key, names: frozenset[str]) -> set[Key]:
        wanted = frozenset((key[0], name) for name in names)
        known = self._waits.get(key, frozenset())
        if wanted == known:
            return set()
        for other in known - wanted:
            self._waiting_for[other].discard(key)
            if not self._waiting_for[other]:
                del self._waiting_for[other]
        for other in wanted - known:
            self._waiting_for.setdefault(other, set()).add(key)
        self._waits[key] = wanted
        if not wanted:
            del self._waits[key]
        return self._find_rings({key, *self._rings.get(key, ())})

    def _find_rings(self, keys: set[Key]) -> set[Key]:
        """Look anew who of these waits for itself; return those for whom that has changed."""
        before = {key: self._rings.pop(key, None) for key in keys}
        for key in keys:
            if key not in self._rings:
                for member in (ring := self._ring(key)):
                    before.setdefault(member, self._rings.get(member))
                    self._rings[member] = ring
        return {key for key, ring in before.items() if self._rings.get(key) != ring}

    def _ring(self, key: Key) -> frozenset[Key]:
        if key not in self._waits or key not in self._waiting_for:
            return frozenset()
        ahead = _reached(key, self._waits)
        return ahead & _reached(key, self._waiting_for) if key in ahead else frozenset()

    def _path(self, key: Key, ring: frozenset[Key]) -> list[Key]:
        """Return a shortest way from the batch back to itself."""
        came_from: dict[Key, Key] = {}
        ways = deque([key])
        while key not in came_from:
            now = ways.popleft()
            for other in sorted(self._waits[now] & ring):
                if other not in came_from:
                    came_from[other] = now
                    ways.append(other)
        path = [key, came_from[key]]
        while path[-1] != key:
            path.append(came_from[path[-1]])
        return path[::-1]


def _reached(start: Key, edges: Mapping[Key, Collection[Key]]) -> frozenset[Key]:
    found: set[Key] = set()
    ways = [start]
    while ways:
        for other in edges.get(ways.pop(), ()):
            if other not in found:
                found.add(other)
                ways.append(other)
    return frozenset(found)


def _given(observed: ObservedBatch) -> list[DependencySpec]:
    return [] if observed.spec.depends_on is UNSET else observed.spec.depends_on


def _is_past_waiting(observed: ObservedBatch) -> bool:
    stated = observed.stated
    return stated.enqueued or stated.finished or observed.deleted_at is not None or observed.problem is not None


def _unrecorded(observed: ObservedBatch) -> frozenset[str]:
    if _is_past_waiting(observed) or observed.managed_elsewhere:
        return frozenset()
    return frozenset(each.name for each in _given(observed)) - set(observed.stated.satisfied)


def _holds(dependency: DependencySpec, now: Standing) -> bool:
    enough = {Standing.SUCCEEDED}
    if dependency.condition is DependencyCondition.COMPLETE:
        enough.add(Standing.COMPLETE)
    return now in enough


def _failure(dependency: DependencySpec, now: Standing) -> str:
    said = "has failed" if now is Standing.FAILED else "is complete with failed jobs, and has to be Succeeded"
    return f"JobBatch {dependency.name} {said}"


def _wish(dependency: DependencySpec, now: Standing) -> str:
    wish = f"JobBatch {dependency.name} to be {dependency.condition.value}"
    return f"{wish} (it does not exist)" if now is Standing.ABSENT else wish


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return ", ".join(found[:_NAMES_SHOWN]) + more
