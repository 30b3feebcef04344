"""Handlers in a ConfigMap: the documentation's manifests, applied as they stand there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_cli.running.documents import read_documents
from tests.e2e import manifests
from tests.e2e.release import ROOT
from tests.harness.kubectl import lacks_condition

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

CHANGED = """
def greet(job):
    raise ValueError("no more greetings")
"""


def _documented() -> list[Manifest]:
    section = (ROOT / "docs" / "workerpool.md").read_text().split("## Code without an image")[1]
    return read_documents(section.split("```yaml")[1].split("```")[0].encode())


def test_code_in_a_configmap_runs_and_its_change_replaces_the_pods(kubectl: Kubectl) -> None:
    code, pool, batch = _documented()
    # Two processes, which the container finds in its own limit.
    pool["spec"]["processes"] = "auto"
    pool["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"cpu": "1500m"},
        "requests": {"cpu": "10m"},
    }
    kubectl.apply(code, pool, batch)
    done = kubectl.wait_for("jobbatch", "greetings", lacks_condition("Complete"), seconds=90)
    assert (done["status"]["completedJobs"], done["status"]["failedJobs"]) == (2, 0)
    log = kubectl("logs", "--selector", manifests.worker_pods("greeters"), "--tail=-1")
    # The two print at the same time, so their lines may run into each other.
    assert "hello Ada" in log
    assert "hello Grace" in log
    assert log.count("working on queue greetings") == 2

    before = _checksum(kubectl.get("deployment", "greeters-worker"))
    kubectl.patch("configmap", "greetings", {"data": {"greetings.py": CHANGED}})

    def unchanged(deployment: Manifest) -> str | None:
        return "the checksum is the same" if _checksum(deployment) == before else None

    kubectl.wait_for("deployment", "greeters-worker", unchanged, seconds=30)
    kubectl("rollout", "status", "deployment/greeters-worker", "--timeout=60s", seconds=70)
    kubectl.apply(manifests.batch("again", 2, queue="greetings", payload={"name": "Ada"}, backoffLimit=0))
    done = kubectl.wait_for("jobbatch", "again", lacks_condition("Complete"), seconds=60)
    assert done["status"]["errors"][0]["message"] == "no more greetings"
    kubectl("delete", "workerpool/greeters", "configmap/greetings", "jobbatch/greetings", "jobbatch/again")


def _checksum(deployment: Manifest) -> str:
    found: str = deployment["spec"]["template"]["metadata"]["annotations"]["hammerwork.io/configmap-checksum"]
    return found
