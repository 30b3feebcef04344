"""Worker Pods that do not work, that go, and that are lost, with the ledger as the judge of what ran."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import machine
from tests.cluster.lifecycle import processes_of
from tests.cluster.settings import Kind, chosen_kind, full_cluster
from tests.cluster.waiting import wait_until
from tests.e2e import manifests
from tests.harness.kubectl import completed_fewer_than, condition, conditions, lacks_condition
from tests.harness.manifests import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

POOL = "pods"
JOBS = 10
"""One claim of them is in flight when a worker is killed; more than four, so that none becomes a suspect by that."""
LEASE_SECONDS = 30.0


def changed(pool: Manifest, **container: Any) -> Manifest:
    """Return the pool with other fields of its worker's container."""
    pool["spec"]["template"]["spec"]["containers"][0].update(container)
    return pool


def test_a_pool_tells_why_its_pods_do_not_work(kubectl: Kubectl) -> None:
    unmounted = manifests.pool("unmounted", "record")
    unmounted["spec"]["template"]["spec"]["volumes"] = [{"name": "handlers", "configMap": {"name": "no-such-code"}}]
    missing = [{"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "no-such-texts", "key": "greeting"}}}]
    pools = {
        "imageless": (
            changed(manifests.pool("imageless", "record"), image="localhost/no-such:1", imagePullPolicy="Never"),
            ("ErrImageNeverPull", "localhost/no-such:1"),
        ),
        "unpulled": (
            changed(manifests.pool("unpulled", "record"), image="registry.invalid/no-such:1"),
            ("ImagePullBackOff", "registry.invalid"),
        ),
        "textless": (
            changed(manifests.pool("textless", "record"), env=missing),
            ("CreateContainerConfigError", 'configmap "no-such-texts" not found'),
        ),
        "unmounted": (unmounted, ("FailedMount", 'configmap "no-such-code" not found')),
        "unimported": (manifests.pool("unimported", "no_such_function"), ("CrashLoopBackOff", "no_such_function")),
        "misled": (manifests.pool("misled", "record"), ("CrashLoopBackOff", "exit code 2: HAMMERWORK_DATABASE_URL")),
        "rooted": (
            changed(manifests.pool("rooted", "record"), securityContext={"runAsUser": 0}),
            ("CreateContainerConfigError", "root"),
        ),
    }
    kubectl.create(secret("mysql:/nowhere", name="misleading"))
    pools["misled"][0]["spec"]["databaseSecretRef"] = {"name": "misleading"}
    kubectl.apply(*(pool for pool, _ in pools.values()))

    for name, (_, (reason, words)) in pools.items():

        def untold(pool: Manifest, reason: str = reason, words: str = words) -> str | None:
            told = condition(pool, "Stalled")
            message = conditions(pool).get("Ready", {}).get("message", "")
            return None if told == f"True {reason}" and words in message else f"Stalled is {told}, with {words!r}"

        kubectl.wait_for("workerpool", name, untold, seconds=60)
    kubectl("delete", "workerpool", *pools, "--timeout=60s", seconds=70)
    kubectl.delete("secret", "misleading")


@pytest.fixture(scope="module")
def pool(kubectl: Kubectl) -> Iterator[str]:
    """Two workers, of which one at a time may be evicted."""
    of = manifests.pool(POOL, "hang_at_first", replicas=2, concurrency=20)
    of["spec"]["podDisruptionBudget"] = {"maxUnavailable": 1}
    kubectl.apply(of)
    kubectl.wait_for("workerpool", POOL, lacks_condition("Ready"), seconds=60)
    yield POOL
    kubectl("delete", "workerpool", POOL, "--cascade=foreground", "--timeout=60s", seconds=70)


def ready(kubectl: Kubectl) -> list[str]:
    """Return the names of the pool's Pods once all of them are ready, and no others are there."""

    def missing() -> str | None:
        pods = kubectl.list("pods", manifests.worker_pods(POOL))
        working = [pod for pod in pods if conditions(pod).get("Ready", {}).get("status") == "True"]
        staying = [pod for pod in working if "deletionTimestamp" not in pod["metadata"]]
        return None if len(staying) == len(pods) == 2 else f"{len(staying)} of {len(pods)} Pods are ready"

    wait_until("two ready Pods", missing, seconds=60, interval=0.3)
    return [pod["metadata"]["name"] for pod in kubectl.list("pods", manifests.worker_pods(POOL))]


def roll(kubectl: Kubectl) -> None:
    """Replace all Pods by a rolling update."""
    patch = '{"spec": {"template": {"metadata": {"annotations": {"rolled": "yes"}}}}}'
    kubectl("patch", "workerpool", POOL, "--type=merge", "--patch", patch)
    deployment = f"{POOL}-worker"
    rolled = "{.spec.template.metadata.annotations.rolled}"
    kubectl("wait", f"--for=jsonpath={rolled}=yes", f"deployment/{deployment}", "--timeout=20s")
    kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s", seconds=70)


def delete_one(kubectl: Kubectl) -> None:
    """Delete a Pod; another one takes its place."""
    kubectl("delete", "pod", ready(kubectl)[0], "--wait=true", "--timeout=60s", seconds=70)


def drain(kubectl: Kubectl) -> None:
    """Drain the node of the pool's Pods. There is no other node, so it takes Pods again as soon as it has lost one."""
    (node,) = {pod["spec"]["nodeName"] for pod in kubectl.list("pods", manifests.worker_pods(POOL))}
    selector = f"--pod-selector={manifests.worker_pods(POOL)}"
    command = ("drain", node, selector, "--delete-emptydir-data", "--timeout=60s")
    thread = threading.Thread(target=kubectl, args=command, kwargs={"seconds": 70}, daemon=True)
    thread.start()
    try:

        def unmoved() -> str | None:
            phases = Counter(pod["status"]["phase"] for pod in kubectl.list("pods", manifests.worker_pods(POOL)))
            assert phases["Pending"] <= 1, f"the budget allows one Pod to be missing: {phases}"
            return None if phases["Pending"] else str(phases)

        wait_until("a Pod without a node", unmoved, seconds=40, interval=0.3)
    finally:
        kubectl("uncordon", node)
    thread.join(70)
    assert not thread.is_alive(), "the drain has not ended"


@pytest.mark.usefixtures("pool")
def test_pods_that_go_repeat_no_job(kubectl: Kubectl, database: Database) -> None:
    """A rolling update, a deletion and a drain, one after the other, each under load."""
    for go in (roll, delete_one, drain):
        before = set(ready(kubectl))
        name = go.__name__.replace("_", "-")
        kubectl.apply(manifests.batch(name, 1_500, queue=POOL, payload={"milliseconds": 150}, batchSize=20))
        kubectl.wait_for("jobbatch", name, completed_fewer_than(50), seconds=60)
        go(kubectl)
        assert not before <= set(ready(kubectl)), f"{name}: no Pod has gone"
        batch = kubectl.wait_for("jobbatch", name, lacks_condition("Complete"), seconds=120)
        assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (1_500, 0)
        runs = database.runs(batch["status"]["batchId"])
        assert Counter(run.index for run in runs) == dict.fromkeys(range(1_500), 1), f"{name}: jobs ran twice"
        assert {run.pod for run in runs} & before, f"{name}: the Pods that went had not run anything"


def in_flight(kubectl: Kubectl, database: Database, name: str) -> tuple[str, str]:
    """Start jobs that hang, all in one claim; return the batch's id and the Pod that runs them."""
    ready(kubectl)
    kubectl.apply(manifests.batch(name, JOBS, queue=POOL, payload={"hangs": True}, batchSize=JOBS))
    batch_id = kubectl.wait_for("jobbatch", name, lacks_condition("Enqueued"), seconds=30)["status"]["batchId"]

    def missing() -> str | None:
        runs = database.runs(batch_id)
        return None if len(runs) == JOBS else f"{len(runs)} jobs run"

    wait_until(f"{JOBS} running jobs", missing, seconds=30, interval=0.2)
    (pod,) = {run.pod for run in database.runs(batch_id)}
    return batch_id, pod


def completed(kubectl: Kubectl, name: str) -> None:
    """Return once all jobs of the batch have completed."""
    batch = kubectl.wait_for("jobbatch", name, lacks_condition("Complete"), seconds=90)
    assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (JOBS, 0)


def first_repeated(database: Database, batch_id: str, *, victim: str) -> float:
    """Return when the first job ran again; each of them did so once, elsewhere."""
    runs = database.runs(batch_id)
    assert Counter(run.index for run in runs) == dict.fromkeys(range(JOBS), 2)
    again = runs[JOBS:]
    assert victim not in {run.pod for run in again}
    return again[0].began


@pytest.mark.usefixtures("pool")
def test_what_a_killed_pod_had_in_flight_runs_again_at_once(kubectl: Kubectl, database: Database) -> None:
    batch_id, victim = in_flight(kubectl, database, "killed")
    deleted = database.seconds()
    kubectl("delete", "pod", victim, "--grace-period=1", "--wait=false")
    completed(kubectl, "killed")
    seconds = first_repeated(database, batch_id, victim=victim) - deleted
    print(f"jobs of a Pod that was killed ran elsewhere {seconds:.1f} s after its deletion")
    assert seconds < LEASE_SECONDS / 2


@contextlib.contextmanager
def silent_node() -> Iterator[None]:
    """Stop the kubelet for a while, as if the node were lost; its containers are the test's to end."""
    (kubelet,) = [each.pid for each in processes_of(full_cluster()).records() if each.name == "kubelet"]
    os.kill(kubelet, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kubelet, signal.SIGCONT)


@pytest.mark.skipif(
    chosen_kind() is not Kind.LOCAL, reason="stops the kubelet of the cluster that tests/cluster starts"
)
@pytest.mark.usefixtures("pool")
def test_a_lost_node_repeats_what_was_in_flight_and_only_after_the_lease(kubectl: Kubectl, database: Database) -> None:
    batch_id, victim = in_flight(kubectl, database, "node")
    uid = kubectl.get("pod", victim)["metadata"]["uid"]
    stopped = database.seconds()
    with silent_node():
        for pid in machine.processes_in_pod_cgroups({uid}):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        completed(kubectl, "node")
    seconds = first_repeated(database, batch_id, victim=victim) - stopped
    print(f"jobs of a lost node ran elsewhere after {seconds:.1f} s")
    assert seconds > LEASE_SECONDS / 2, "a node that does not answer may still be at work"


@pytest.mark.usefixtures("database")
def test_a_job_that_eats_the_memory_fails_and_its_neighbours_complete(kubectl: Kubectl) -> None:
    pool = manifests.pool("hungry", "eat_memory", replicas=3)
    kubectl.apply(changed(pool, resources={"limits": {"memory": "200Mi"}}))
    kubectl.wait_for("workerpool", "hungry", lacks_condition("Ready"), seconds=60)
    kubectl.apply(manifests.batch("hungry", 6, batchSize=6, backoffLimit=0))
    batch = kubectl.wait_for("jobbatch", "hungry", lacks_condition("Complete"), seconds=150)
    assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (5, 1)
    (error,) = batch["status"]["errors"]
    assert (error["type"], error["index"]) == ("WorkerLost", 3)
    pods = kubectl.list("pods", manifests.worker_pods("hungry"))
    ends = {
        str(status.get("lastState", {}).get("terminated", {}).get("reason"))
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }
    assert "OOMKilled" in ends
    kubectl("delete", "workerpool", "hungry", "--cascade=foreground", "--timeout=60s", seconds=70)
