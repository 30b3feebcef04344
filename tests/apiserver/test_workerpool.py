"""A WorkerPool's Deployment on a real API server with its real controllers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.kubectl import condition, conditions
from tests.harness.manifests import secret, workerpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

pytestmark = pytest.mark.usefixtures("operator")

VERSION = "hammerwork.io/database-secret-version"
CHECKSUM = "hammerwork.io/configmap-checksum"
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
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 70
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


async def test_a_changed_secret_and_where_it_is_asked_for_a_changed_configmap_roll_the_pods(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"a.py": "1"}})
    volumes = [{"name": name, "configMap": {"name": name, "optional": True}} for name in ("code", "missing")]
    pools = {"fixed": False, "mailers": True}
    for name, restart in pools.items():
        template = {"spec": {"volumes": volumes}}
        kubectl.create(workerpool(name, replicas=0, template=template, restartOnConfigMapChange=restart))
    before = {name: _annotations(await kubectl.wait("deployment", f"{name}-worker", lambda _: True)) for name in pools}
    assert [CHECKSUM in before[name] for name in pools] == [False, True]
    kubectl.patch("secret", "hammerwork-database", {"stringData": {"url": "postgresql://other@db/hammerwork"}})
    kubectl.patch("configmap", "code", {"data": {"a.py": "2"}})

    def rolled(name: str, *changed: str) -> Callable[[Manifest], bool]:
        return lambda found: all(_annotations(found).get(key) not in {None, before[name].get(key)} for key in changed)

    await kubectl.wait("deployment", "fixed-worker", rolled("fixed", VERSION))
    await kubectl.wait("deployment", "mailers-worker", rolled("mailers", VERSION, CHECKSUM))


def _annotations(deployment: Manifest) -> Manifest:
    return dict(deployment["spec"]["template"]["metadata"]["annotations"])


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


def _worker(**parts: Any) -> Manifest:
    return {"spec": {"containers": [{"name": "worker", **parts}]}}


REFUSED: dict[str, Manifest] = {
    'Unsupported value: "Sometimes"': {"spec": {"restartPolicy": "Sometimes"}},
    ".spec.template.spec.nodeSelectr: field not declared": {"spec": {"nodeSelectr": {}}},
    'duplicate entries for key [name="A"]': _worker(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    "duplicate entries for key [containerPort=9000": _worker(ports=[{"containerPort": 9000}, {"containerPort": 9000}]),
    "quantities must match": _worker(resources={"limits": {"memory": "lots"}}),
    'env[name="A"].value: expected string': _worker(env=[{"name": "A", "value": 5}]),
    "resources: expected map": _worker(resources="small"),
}


async def test_a_template_that_the_api_server_refuses_is_reported_in_its_words(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")
    for words, template in REFUSED.items():
        patch = [{"op": "add", "path": "/spec/template", "value": template}]
        kubectl("patch", "workerpool", "mailers", "--type=json", "--patch", json.dumps(patch))
        refused = await kubectl.wait("workerpool", "mailers", _tells(words))
        assert [condition(refused, kind) for kind in ("Ready", "Reconciling", "Stalled")] == [
            "False DeploymentRejected",
            "False DeploymentRejected",
            "True DeploymentRejected",
        ]
    kubectl.patch("workerpool", "mailers", {"spec": {"template": None}})
    await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")


def _tells(words: str) -> Callable[[Manifest], bool]:
    return lambda pool: words in conditions(pool)["Ready"]["message"]


async def test_a_port_without_a_name_and_null_are_legal(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    spec = {**_worker(ports=[{"containerPort": 8080}])["spec"], "securityContext": None}
    kubectl.apply(workerpool("mailers", replicas=0, template={"spec": spec}))
    deployment = await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    assert [port["containerPort"] for port in worker_container(deployment)["ports"]] == [8080, 8081]
    assert deployment["spec"]["template"]["spec"].get("securityContext", {}) == {}


@pytest.fixture
def broken_webhook(kubectl: Kubectl) -> Iterator[str]:
    """An admission webhook that does not answer: the API server answers 500 to each write of a Deployment."""
    name = f"broken-{kubectl.namespace}"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    webhook = {
        "name": "deployments.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = "ValidatingWebhookConfiguration"
    version = "admissionregistration.k8s.io/v1"
    kubectl.create({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]})
    yield name
    kubectl("delete", kind, name, "--ignore-not-found")


async def test_what_may_pass_is_not_taken_for_a_fault_of_the_template(kubectl: Kubectl, broken_webhook: str) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    waiting = await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") != "-")
    assert [condition(waiting, kind) for kind in ("Ready", "Reconciling", "Stalled")] == [
        "False ApplyFailed",
        "True ApplyFailed",
        "False ApplyFailed",
    ]
    assert 'failed calling webhook "deployments.example.com"' in conditions(waiting)["Ready"]["message"]
    kubectl("delete", "ValidatingWebhookConfiguration", broken_webhook)
    await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")


async def test_a_deployment_that_its_pool_has_left_behind_is_adopted_by_the_next_one(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    left = await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    kubectl("delete", "workerpool", "mailers", "--cascade=orphan", "--timeout=30s")
    await kubectl.wait("deployment", "mailers-worker", lambda found: "ownerReferences" not in found["metadata"])
    kubectl.create(workerpool("mailers", replicas=0))
    pool = await kubectl.wait("workerpool", "mailers", lambda found: condition(found, "Ready") == "True Available")
    adopted = kubectl.get("deployment", "mailers-worker")["metadata"]
    assert adopted["uid"] == left["metadata"]["uid"]
    assert [owner["uid"] for owner in adopted["ownerReferences"]] == [pool["metadata"]["uid"]]


async def test_the_deployment_goes_with_the_pool(kubectl: Kubectl) -> None:
    kubectl.create(secret(URL))
    kubectl.create(workerpool("mailers", replicas=0))
    await kubectl.wait("deployment", "mailers-worker", lambda _: True)
    kubectl("delete", "workerpool", "mailers", "--timeout=30s")
    await kubectl.wait_gone("deployment", "mailers-worker")
