"""JobBatches that another controller manages: real API server, real operator process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl

ONE = [{"payload": 1}]
COMPLETE = {
    "type": "Complete",
    "status": "True",
    "reason": "Dispatched",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-05-01T12:00:00Z",
}


@pytest.mark.usefixtures("operator", "with_database")
async def test_the_operator_does_not_touch_what_another_controller_manages(kubectl: Kubectl) -> None:
    kubectl.create(jobbatch("elsewhere", jobs=ONE, managedBy="example.com/dispatcher"))
    before = kubectl.get("jobbatch", "elsewhere")
    kubectl.create(jobbatch("ours", jobs=ONE, managedBy="hammerwork.io/operator"))
    kubectl.create(jobbatch("after", jobs=ONE, dependsOn=[{"name": "elsewhere"}]))
    await kubectl.wait("jobbatch", "ours", lambda found: condition(found, "Ready") == "True Running")
    await kubectl.wait("jobbatch", "after", lambda found: condition(found, "Ready") == "False DependencyNotReady")
    kubectl.patch("jobbatch", "elsewhere", {"spec": {"suspend": True}})
    with pytest.raises(CommandError, match="managedBy cannot be changed after creation"):
        kubectl.patch("jobbatch", "elsewhere", {"spec": {"managedBy": None}})
    status = {"status": {"conditions": [COMPLETE]}}
    kubectl("patch", "jobbatch", "elsewhere", "--subresource=status", "--type=merge", "--patch", json.dumps(status))
    await kubectl.wait("jobbatch", "after", lambda found: condition(found, "Ready") == "True Running")
    found = kubectl.get("jobbatch", "elsewhere")
    assert "finalizers" not in found["metadata"]
    assert found["status"] == {**before["status"], "conditions": [COMPLETE]}
    kubectl("delete", "jobbatch", "elsewhere", "--timeout=20s")


def test_the_name_of_a_controller_has_a_domain(kubectl: Kubectl) -> None:
    for name in ("dispatcher", "Example.com/x", "example.com/", "example.com/a b", f"example.com/{'a' * 64}"):
        with pytest.raises(CommandError, match=r"spec\.managedBy"):
            kubectl.create(jobbatch("bad", jobs=ONE, managedBy=name))
