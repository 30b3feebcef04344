"""In which order the batches of a run begin: spec.dependsOn, by the operator's rules, among the files' own batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from hammerwork.batch import BatchState
from hammerwork_cli.running.decoding import ManifestError
from hammerwork_operator.api.dependencies import DependencyCondition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from hammerwork.reports import BatchStatus
    from hammerwork_cli.running.manifests import BatchManifest
    from hammerwork_operator.api.dependencies import DependencySpec

_COMPLETE = {
    DependencyCondition.COMPLETE: {BatchState.COMPLETED, BatchState.COMPLETED_WITH_ERRORS},
    DependencyCondition.SUCCEEDED: {BatchState.COMPLETED},
}


class Order:
    """Tells which batches may begin, and which never can because another one has failed."""

    def __init__(self, batches: Mapping[UUID, BatchManifest]) -> None:
        ids = {(batch.namespace, batch.name): batch_id for batch_id, batch in batches.items()}
        self._waiting: dict[UUID, list[tuple[UUID, DependencyCondition]]] = {
            batch_id: [(ids[batch.namespace, each.name], each.condition) for each in dependencies(batch)]
            for batch_id, batch in batches.items()
        }
        self.failed: set[UUID] = set()
        """Those that can never begin."""

    def due(self, statuses: Mapping[UUID, BatchStatus]) -> list[UUID]:
        """Return the batches that may begin, until they have `begun`; `statuses` has those that are stored."""
        while hopeless := {batch_id for batch_id in self._waiting if self._is_hopeless(batch_id, statuses)}:
            self.failed |= hopeless
            for batch_id in hopeless:
                del self._waiting[batch_id]
        return [batch_id for batch_id, given in self._waiting.items() if all(_holds(*each, statuses) for each in given)]

    def begun(self, batch_id: UUID) -> None:
        """Take note that the batch is stored."""
        del self._waiting[batch_id]

    @property
    def all_begun(self) -> bool:
        """Whether nothing waits any more."""
        return not self._waiting

    def _is_hopeless(self, batch_id: UUID, statuses: Mapping[UUID, BatchStatus]) -> bool:
        return any(
            other in self.failed
            or (other in statuses and statuses[other].finished and not _holds(other, wish, statuses))
            for other, wish in self._waiting[batch_id]
        )


def _holds(other: UUID, condition: DependencyCondition, statuses: Mapping[UUID, BatchStatus]) -> bool:
    return other in statuses and statuses[other].state in _COMPLETE[condition]


def dependencies(batch: BatchManifest) -> list[DependencySpec]:
    """Return what the batch depends on."""
    return [] if batch.spec.depends_on is UNSET else batch.spec.depends_on


def check_order(batches: Iterable[BatchManifest]) -> None:
    """Raise `ManifestError` for a dependency that is not in the files, and for batches that wait for each other."""
    named = {(batch.namespace, batch.name): batch for batch in batches}
    for batch in named.values():
        seen: set[str] = set()
        for position, each in enumerate(dependencies(batch)):
            where = f"{batch.label}: spec.dependsOn[{position}].name: {each.name!r}"
            if (batch.namespace, each.name) not in named:
                raise ManifestError(f"{where}, no JobBatch {batch.namespace}/{each.name} in the files")
            if each.name in seen:
                raise ManifestError(f"{where}, is given twice")
            seen.add(each.name)
    for batch in named.values():
        if path := _way_back(batch, named):
            raise ManifestError(f"{batch.label}: spec.dependsOn: JobBatches wait for each other: {' → '.join(path)}")


def _way_back(start: BatchManifest, named: Mapping[tuple[str, str], BatchManifest]) -> list[str]:
    """Return the names on a shortest way from the batch back to itself; none if there is none."""
    paths = {start.name: [start.name]}
    names = [start.name]
    for name in names:  # grows meanwhile
        for each in dependencies(named[start.namespace, name]):
            if each.name == start.name:
                return [*paths[name], start.name]
            if each.name not in paths:
                paths[each.name] = [*paths[name], each.name]
                names.append(each.name)
    return []
