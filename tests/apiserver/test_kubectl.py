"""What people do with kubectl all day."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster.waiting import wait_until
from tests.harness.kubectl import CommandError
from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.kubectl import Kubectl


def test_a_dry_run_checks_and_stores_nothing(kubectl: Kubectl) -> None:
    good = json.dumps(jobbatch("tried", jobs=[{"payload": 1}]))
    answer = json.loads(kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=good))
    assert answer["spec"]["batchSize"] == 100
    with pytest.raises(CommandError, match="batchSize"):
        kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(jobbatch("bad", batchSize=0)))
    assert kubectl("get", "hammerwork", "-o", "name") == ""


def test_a_diff_shows_what_changes_and_nothing_else(kubectl: Kubectl) -> None:
    manifest = jobbatch("changed", jobs=[{"payload": 1}])
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["spec"]["suspend"] = True
    with pytest.raises(CommandError) as told:
        kubectl("diff", "-f", "-", stdin=json.dumps(manifest))
    changed = [line for line in told.value.said.splitlines() if line.startswith(("+ ", "- "))]
    assert changed == ["-  generation: 1", "+  generation: 2", "-  suspend: false", "+  suspend: true"]


@pytest.mark.parametrize(("short", "kind"), [("jb", "jobbatch"), ("wp", "workerpool")])
def test_objects_of_a_queue_are_selected_by_it(kubectl: Kubectl, short: str, kind: str) -> None:
    for name, queue in (("mine", "mail"), ("other", "pictures")):
        kubectl.create(
            jobbatch(name, queue=queue, jobs=[{"payload": 1}]) if short == "jb" else workerpool(name, queue=queue)
        )
    found = kubectl("get", short, "--field-selector", "spec.queue=mail", "-o", "name").split()
    assert found == [f"{kind}.hammerwork.io/mine"]
    kubectl("delete", kind, "--field-selector", "spec.queue!=mail")
    assert kubectl("get", short, "-o", "name").split() == found


def test_a_name_can_be_generated(kubectl: Kubectl) -> None:
    manifest = jobbatch("", jobs=[{"payload": 1}]) | {"metadata": {"generateName": "nightly-"}}
    names = {kubectl("create", "-o", "name", "-f", "-", stdin=json.dumps(manifest)) for _ in range(2)}
    assert len(names) == 2
    with pytest.raises(CommandError, match="cannot use generate name with apply"):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


@pytest.mark.usefixtures("operator", "with_database")
def test_pools_and_batches_are_watched_waited_for_and_scaled(kubectl: Kubectl, tmp_path: Path) -> None:
    seen = tmp_path / "watched"
    command = (kubectl.program, "--namespace", kubectl.namespace, "get", "jobbatches", "--watch")
    with seen.open("wb") as out, subprocess.Popen(command, env=dict(kubectl.environment), stdout=out) as watching:
        try:
            kubectl.create(workerpool("mailers", replicas=0))
            kubectl.create(jobbatch("welcome", jobs=[{"payload": 1}]))
            kubectl("wait", "--for=condition=Enqueued", "jobbatch/welcome", "--timeout=60s", seconds=70)
            kubectl("wait", "--for=jsonpath={.status.pendingJobs}=1", "jb/welcome", "--timeout=60s", seconds=70)
            kubectl("wait", "--for=condition=Ready", "wp/mailers", "--timeout=60s", seconds=70)
            assert "successfully rolled out" in kubectl(
                "rollout", "status", "deployment/mailers-worker", "--timeout=60s"
            )
            kubectl("scale", "workerpool/mailers", "--replicas=2")
            kubectl("wait", "--for=jsonpath={.status.desiredReplicas}=2", "wp/mailers", "--timeout=60s", seconds=70)
            assert kubectl.get("deployment", "mailers-worker")["spec"]["replicas"] == 2
            with pytest.raises(CommandError, match="timed out"):  # no node, no worker
                kubectl("rollout", "status", "deployment/mailers-worker", "--timeout=1s")
            with pytest.raises(CommandError, match="Expected replicas to be 5"):
                kubectl("scale", "workerpool/mailers", "--replicas=1", "--current-replicas=5")
            wait_until(
                "Running on the watch",
                lambda: None if " Running " in seen.read_text() else seen.read_text(),
                seconds=60,
            )
        finally:
            watching.terminate()
    assert seen.read_text().splitlines()[0].split() == [
        "NAME", "QUEUE", "STATUS", "PROGRESS", "TOTAL", "COMPLETED", "FAILED", "AGE",
    ]  # fmt: skip
