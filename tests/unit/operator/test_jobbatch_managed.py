"""An object that another controller manages is only looked at."""

from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch.dependencies import DependencyIndex
from tests.unit.operator.builders import batch

COMPLETE = [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-05-01T12:00:00Z"}]


@pytest.mark.parametrize(
    ("spec", "elsewhere"),
    [
        ({}, False),
        ({"managedBy": "hammerwork.io/operator"}, False),
        ({"managedBy": "example.com/dispatcher"}, True),
        ({"managedBy": "example.com/dispatcher", "partialFailureMode": "of a newer version"}, True),
    ],
)
def test_another_name_than_the_operators_means_another_controller(spec: dict[str, Any], elsewhere: bool) -> None:
    assert batch(spec).managed_elsewhere is elsewhere


def test_who_manages_a_batch_does_not_define_its_jobs() -> None:
    assert batch({"managedBy": "example.com/dispatcher"}).batch_id == batch().batch_id


def test_it_counts_for_those_that_depend_on_it_and_waits_for_nobody() -> None:
    index = DependencyIndex()
    index.listed()
    waits = batch({"dependsOn": [{"name": "elsewhere"}]}, name="waits")
    spec = {"managedBy": "example.com/dispatcher", "dependsOn": [{"name": "waits"}]}
    index.seen(waits)
    index.seen(batch(spec, name="elsewhere"))
    assert index.of(waits).reason is Reason.DEPENDENCY_NOT_READY
    assert not index.is_awaited(("mail", "waits"))
    assert index.seen(batch(spec, {"conditions": COMPLETE}, name="elsewhere")) == {("mail", "waits")}
    assert index.of(waits).reason is None
