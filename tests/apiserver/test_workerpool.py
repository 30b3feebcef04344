"""A WorkerPool's Deployment on a real API server with its real controllers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.kubectl import condition
from tests.harness.manifests import secret, workerpool

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

pytestmark = pytest.mark.usefixtures("operator")

URL = "postgresql://user:secret@db/hammerwork"


def worker_container(deployment: Manifest) -> Manifest:
    (found,) = [
        container for container in deployment["spec"]["template"]["spec"]["containers"] if container["name"] == "worker"
    ]
    return dict(found)


async def test_a_pool_becomes_a_deployment(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    template = {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": "256Mi"}}}]}}
    kubectl.create(workerpool("mailers", replicas=3, concurrency=4, template=template))
    found = await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    owner = found["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("WorkerPool", "mailers", True)
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 40
    container = worker_container(found)
    assert container["image"] == "example/worker:1"
    assert container["resources"] == {"limits": {"memory": "256Mi"}}
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["HAMMERWORK_CONCURRENCY"]["value"] == "4"
    assert env["HAMMERWORK_DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "hammerwork-database", "key": "url"}
    assert "user:secret" not in json.dumps(found)
    pool = await kubectl.wait("workerpool", "mailers", lambda each: each.get("status", {}).get("replicas") == 3)
    assert [condition(pool, kind) for kind in ("Ready", "Reconciling", "Stalled")] == [
        "False Progressing",
        "True Progressing",
        "False Progressing",
    ]
    assert pool["status"]["observedGeneration"] == 1


async def test_the_pods_are_restricted(kubectl: Kubectl) -> None:
    """The API server checks the Pods of a namespace that enforces the strictest standard."""
    kubectl("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted")
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers"))
    found = await kubectl.wait("deployment", "mailers-worker", lambda each: each.get("status", {}).get("replicas") == 1)
    assert "ReplicaFailure" not in {entry["type"] for entry in found["status"]["conditions"]}
    kubectl("get", "pods", "-l", "hammerwork.io/pool=mailers", "-o", "name")


async def test_drift_is_repaired(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=2))
    before = await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    drift = {"spec": {"replicas": 9, "template": {"metadata": {"labels": {"hammerwork.io/queue": "other"}}}}}
    kubectl.patch("deployment", "mailers-worker", drift)
    after = await kubectl.wait(
        "deployment",
        "mailers-worker",
        lambda found: (
            found["spec"]["replicas"] == 2
            and found["spec"]["template"]["metadata"]["labels"]["hammerwork.io/queue"] == "work"
        ),
    )
    assert after["metadata"]["generation"] > before["metadata"]["generation"]
    kubectl("delete", "deployment", "mailers-worker")
    await kubectl.wait(
        "deployment", "mailers-worker", lambda found: found["metadata"]["uid"] != before["metadata"]["uid"]
    )


async def test_nothing_is_written_when_nothing_changes(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    ready = await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")
    deployment = kubectl.get("deployment", "mailers-worker")
    # The annotation of somebody else makes the operator look again; the other pool tells when it has.
    kubectl("annotate", "workerpool", "mailers", "seen=1")
    kubectl.create(workerpool("later", replicas=0))
    await kubectl.wait("workerpool", "later", lambda found: condition(found, "Ready") == "True Available")
    after = kubectl.get("deployment", "mailers-worker")["metadata"]["resourceVersion"]
    assert after == deployment["metadata"]["resourceVersion"]
    assert kubectl.get("workerpool", "mailers")["status"] == ready["status"]


async def test_the_pool_can_be_scaled(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=1))
    await kubectl.wait("workerpool", "mailers", lambda found: found.get("status", {}).get("replicas") == 1)
    scale = json.loads(
        kubectl(
            "get", "--raw", f"/apis/hammerwork.io/v1alpha1/namespaces/{kubectl.namespace}/workerpools/mailers/scale"
        )
    )
    assert scale["status"] == {
        "replicas": 1,
        "selector": "app.kubernetes.io/instance=mailers,app.kubernetes.io/name=hammerwork-worker",
    }
    kubectl("scale", "workerpool/mailers", "--replicas=4")
    await kubectl.wait("deployment", "mailers-worker", lambda found: found["spec"]["replicas"] == 4)


async def test_a_changed_secret_rolls_the_pods(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers"))
    before = await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    kubectl.patch("secret", "hammerwork-database", {"stringData": {"url": "postgresql://other@db/hammerwork"}})
    await kubectl.wait(
        "deployment",
        "mailers-worker",
        lambda found: found["spec"]["template"]["metadata"] != before["spec"]["template"]["metadata"],
    )


async def test_a_missing_secret_is_reported_and_its_appearance_heals(kubectl: Kubectl) -> None:
    kubectl.create(workerpool("mailers", replicas=0))
    stalled = await kubectl.wait(
        "workerpool", "mailers", lambda found: condition(found, "Stalled") == "True SecretNotFound"
    )
    assert stalled["status"]["conditions"][0]["message"] == (
        f"Secret {kubectl.namespace}/hammerwork-database does not exist; create it with the database URL under 'url'"
    )
    assert kubectl.find("deployment", "mailers-worker") is None
    kubectl.create(secret(URL))
    healed = await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")
    assert condition(healed, "Stalled") == "False Available"
    await kubectl.wait_events("mailers", "Warning SecretNotFound", "Normal Available")


async def test_a_deployment_of_somebody_else_is_left_alone(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl("create", "deployment", "mailers-worker", "--image=example/other:1", "--replicas=0")
    kubectl.create(workerpool("mailers"))
    await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "False DeploymentConflict")
    (container,) = kubectl.get("deployment", "mailers-worker")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "example/other:1"


async def test_a_template_that_the_api_server_refuses_is_reported(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", template={"spec": {"restartPolicy": "Sometimes"}}))
    rejected = await kubectl.wait(
        "workerpool", "mailers", lambda found: condition(found, "Ready") == "False DeploymentRejected"
    )
    assert 'Unsupported value: "Sometimes"' in rejected["status"]["conditions"][0]["message"]
    kubectl.patch("workerpool", "mailers", {"spec": {"template": None, "replicas": 0}})
    await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")


async def test_the_deployment_goes_with_the_pool(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    kubectl("delete", "workerpool", "mailers", "--timeout=30s")
    await kubectl.wait_gone("deployment", "mailers-worker")
