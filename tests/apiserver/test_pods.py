"""Worker Pods on a real API server; the test is their kubelet."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import JobQueue
from tests.harness.batches import batch
from tests.harness.kubectl import condition, conditions
from tests.harness.manifests import workerpool
from tests.harness.observing import comes_to
from tests.harness.steered import SteeredWorker
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

pytestmark = pytest.mark.usefixtures("operator")

COST = "controller.kubernetes.io/pod-deletion-cost"
BAD_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "example/worker:1: not found"}}
CREATING = {"waiting": {"reason": "ContainerCreating"}}
RUNNING: dict[str, Any] = {"running": {}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "containerd://1"}}


def set_state(kubectl: Kubectl, pod: str, state: dict[str, Any], *, ready: bool = False) -> None:
    """Say of a Pod what a kubelet says."""
    status = {
        "phase": "Pending" if "waiting" in state else "Running",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [
            {
                "name": "worker",
                "image": "example/worker:1",
                "imageID": "",
                "ready": ready,
                "restartCount": 0,
                "state": state,
            }
        ],
    }
    kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))


async def pods_of(kubectl: Kubectl, pool: str, count: int) -> list[Manifest]:
    return await eventually(
        lambda: asyncio.to_thread(kubectl.list, "pods", f"hammerwork.io/pool={pool}"),
        lambda found: len(found) == count,
        tell=lambda found: str([each["metadata"]["name"] for each in found]),
    )


@pytest.mark.usefixtures("with_database")
async def test_a_pool_tells_the_cause_of_its_pods(kubectl: Kubectl) -> None:
    kubectl.create(workerpool("mailers"))
    (pod,) = await pods_of(kubectl, "mailers", 1)
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    set_state(kubectl, name, BAD_IMAGE)
    found = await kubectl.wait("workerpool", "mailers", lambda each: condition(each, "Stalled").startswith("True"))
    assert condition(found, "Ready") == "False ImagePullBackOff"
    told = f"0 of 1 workers available; Pod {name}: container worker: example/worker:1: not found"
    assert conditions(found)["Ready"]["message"] == told
    await kubectl.wait_events("mailers", "Warning ImagePullBackOff")

    # What keeps a volume from being mounted is told in no status.
    set_state(kubectl, name, CREATING)
    kubectl.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "mount"},
            "involvedObject": {"kind": "Pod", "namespace": kubectl.namespace, "name": name, "uid": uid},
            "type": "Warning",
            "reason": "FailedMount",
            "message": 'configmap "code" not found',
        }
    )
    found = await kubectl.wait("workerpool", "mailers", lambda each: condition(each, "Ready") == "False FailedMount")
    assert condition(found, "Stalled") == "True FailedMount"

    set_state(kubectl, name, RUNNING, ready=True)
    await kubectl.wait("workerpool", "mailers", lambda each: condition(each, "Ready") == "True Available")
    set_state(kubectl, name, KILLED)
    found = await kubectl.wait("workerpool", "mailers", lambda each: condition(each, "Ready") == "False OOMKilled")
    assert condition(found, "Reconciling") == "True OOMKilled"


async def test_claims_of_pods_that_are_gone_are_recovered_and_of_no_others(
    kubectl: Kubectl, with_database: str
) -> None:
    kubectl.create(workerpool("mailers", queue="q", replicas=2))
    ended, forced = [pod["metadata"] for pod in await pods_of(kubectl, "mailers", 2)]
    for pod in (ended, forced):
        set_state(kubectl, pod["name"], RUNNING, ready=True)
    async with await JobQueue.connect(with_database) as queue:
        await queue.create_tables()
        batch_id = await queue.enqueue_batch(batch(3).with_batch_size(1))
        for instance in (ended["uid"], forced["uid"], "a Pod of another cluster"):
            worker = SteeredWorker(queue)
            await worker.register(instance=instance)
            await worker.take(1)
        # Deleted, with a job that takes longer than its grace period; a finalizer stands for the time until the kubelet
        # has ended the container.
        kubectl.patch("pod", ended["name"], {"metadata": {"finalizers": ["example.org/kubelet"]}})
        kubectl("delete", "pod", ended["name"], "--wait=false")
        assert (await queue.get_batch_status(batch_id)).running_jobs == 3
        set_state(kubectl, ended["name"], KILLED)
        await comes_to(queue, batch_id, lambda status: status.running_jobs == 2)
        kubectl.patch("pod", ended["name"], {"metadata": {"finalizers": None}})

        # Deleted by force: only heartbeats tell whether its worker still runs.
        kubectl("delete", "pod", forced["name"], "--force", "--grace-period=0")
        await comes_to(queue, batch_id, lambda status: status.running_jobs == 1, within=20)
        held = {worker.instance: worker.jobs_held for worker in await queue.get_workers()}
        assert held == {"a Pod of another cluster": 1}


async def test_idle_pods_go_first_and_the_budget_follows_its_field(kubectl: Kubectl, with_database: str) -> None:
    kubectl.create(workerpool("mailers", queue="q", replicas=3, podDisruptionBudget={"maxUnavailable": 1}))
    budget = await kubectl.wait("poddisruptionbudget", "mailers-worker", lambda _: True)
    assert budget["metadata"]["ownerReferences"][0]["name"] == "mailers"
    assert budget["spec"]["maxUnavailable"] == 1
    pods = [pod["metadata"] for pod in await pods_of(kubectl, "mailers", 3)]
    for pod in pods:
        set_state(kubectl, pod["name"], RUNNING, ready=True)
    await kubectl.wait("workerpool", "mailers", lambda each: condition(each, "Ready") == "True Available")
    busy = pods[1]
    async with await JobQueue.connect(with_database) as queue:
        await queue.create_tables()
        await queue.enqueue_batch(batch(5))
        worker = SteeredWorker(queue)
        await worker.register(instance=f"{busy['uid']}/1")
        await worker.take(5)
        kubectl("scale", "workerpool/mailers", "--replicas=1")
        (left,) = await pods_of(kubectl, "mailers", 1)
    assert left["metadata"]["uid"] == busy["uid"]
    assert left["metadata"]["annotations"] == {**busy.get("annotations", {}), COST: "1"}

    changed = {"maxUnavailable": None, "minAvailable": "50%"}
    kubectl.patch("workerpool", "mailers", {"spec": {"podDisruptionBudget": changed}})
    budget = await kubectl.wait("poddisruptionbudget", "mailers-worker", lambda each: "minAvailable" in each["spec"])
    assert (budget["spec"]["minAvailable"], budget["spec"].get("maxUnavailable")) == ("50%", None)
    kubectl.patch("workerpool", "mailers", {"spec": {"podDisruptionBudget": None}})
    await kubectl.wait_gone("poddisruptionbudget", "mailers-worker")
