"""In which order the batches of a run begin."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hammerwork import BatchState, BatchStatus
from hammerwork_cli.running.decoding import ManifestError
from hammerwork_cli.running.manifests import BatchManifest
from hammerwork_cli.running.order import Order, check_order
from hammerwork_operator.api.dependencies import DependencyCondition, DependencySpec
from hammerwork_operator.api.jobbatch import JobBatchSpec
from tests.unit.cli.statuses import CREATED, status

if TYPE_CHECKING:
    from uuid import UUID


def manifest(name: str, *depends_on: str, namespace: str = "default") -> BatchManifest:
    """Return a batch; a dependency that ends in "!" has to succeed."""
    given = [DependencySpec(each.rstrip("!"), _condition(each)) for each in depends_on]
    spec = JobBatchSpec("q", depends_on=given) if given else JobBatchSpec("q")
    return BatchManifest(path=Path("a.yaml"), namespace=namespace, name=name, spec=spec)


def _condition(text: str) -> DependencyCondition:
    return DependencyCondition.SUCCEEDED if text.endswith("!") else DependencyCondition.COMPLETE


class Run:
    """Batches by name, and how they stand."""

    def __init__(self, *batches: BatchManifest) -> None:
        self.ids = {batch.name: uuid.uuid4() for batch in batches}
        self.order = Order({self.ids[batch.name]: batch for batch in batches})
        self.statuses: dict[UUID, BatchStatus] = {}

    def begin(self) -> list[str]:
        names = [name for batch_id in self.order.due(self.statuses) for name in self.ids if self.ids[name] == batch_id]
        for name in names:
            self.order.begun(self.ids[name])
            self.stands(name, BatchState.RUNNING)
        return names

    def stands(self, name: str, state: BatchState) -> None:
        ended = None if state is BatchState.RUNNING else CREATED
        self.statuses[self.ids[name]] = status(batch_id=self.ids[name], state=state, finished_at=ended)

    @property
    def failed(self) -> set[str]:
        return {name for name, batch_id in self.ids.items() if batch_id in self.order.failed}


def test_a_batch_begins_once_all_that_it_depends_on_are_complete() -> None:
    run = Run(manifest("load", "extract", "check!"), manifest("extract"), manifest("check"))
    assert run.begin() == ["extract", "check"]
    assert run.begin() == []
    run.stands("extract", BatchState.COMPLETED_WITH_ERRORS)
    assert run.begin() == []
    assert not run.order.all_begun
    run.stands("check", BatchState.COMPLETED)
    assert run.begin() == ["load"]
    assert run.order.all_begun


@pytest.mark.parametrize(
    ("wish", "state"),
    [
        ("extract", BatchState.FAILED),
        ("extract", BatchState.CANCELLED),
        ("extract!", BatchState.FAILED),
        ("extract!", BatchState.COMPLETED_WITH_ERRORS),
    ],
)
def test_what_depends_on_a_failure_never_begins_nor_does_what_depends_on_that(wish: str, state: BatchState) -> None:
    run = Run(manifest("report", "load"), manifest("load", wish), manifest("extract"))
    run.begin()
    run.stands("extract", state)
    assert (run.begin(), run.failed, run.order.all_begun) == ([], {"load", "report"}, True)


def test_a_batch_that_could_not_be_stored_is_due_again() -> None:
    run = Run(manifest("a"))
    assert run.order.due({}) == run.order.due({}) == [run.ids["a"]]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([manifest("a", "b")], "spec.dependsOn[0].name: 'b', no JobBatch default/b in the files"),
        (
            [manifest("a", "b"), manifest("b", namespace="other")],
            "spec.dependsOn[0].name: 'b', no JobBatch default/b in the files",
        ),
        ([manifest("a", "b", "b!"), manifest("b")], "spec.dependsOn[1].name: 'b', is given twice"),
        ([manifest("a", "a")], "spec.dependsOn: JobBatches wait for each other: a → a"),
        (
            [manifest("a", "b"), manifest("b", "c"), manifest("c", "a")],
            "spec.dependsOn: JobBatches wait for each other: a → b → c → a",
        ),
    ],
)
def test_what_could_never_begin_is_refused(batches: list[BatchManifest], message: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        check_order(batches)
    assert str(refusal.value) == f"a.yaml: JobBatch default/a: {message}"


def test_what_has_an_order_is_not_refused() -> None:
    check_order([manifest("a", "b", "c"), manifest("b", "c"), manifest("c")])
