"""An operator for one namespace, with nothing but a Role there, as a user that the platform assigns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e import manifests
from tests.e2e.release import Release
from tests.harness.kubectl import CommandError, Kubectl, lacks_condition

if TYPE_CHECKING:
    from collections.abc import Iterator


UID_OF_A_NAMESPACE = 1_000_700_000
"""Of the kind that OpenShift assigns; no image knows it."""


@pytest.fixture
def namespaced(release: Release) -> Iterator[Release]:
    """A second release beside the first one, whose operator rests meanwhile: it would serve the namespace too."""
    scale = ("scale", f"deployment/{release.operator}", "--timeout=60s")
    kubectl = Kubectl(release.kubectl.environment, f"{release.kubectl.namespace}-own")
    second = Release(kubectl, release.images, name="second")
    release.kubectl(*scale, "--replicas=0")
    try:
        context = "operator.podSecurityContext"
        user = (f"{context}.runAsUser={UID_OF_A_NAMESPACE}", f"{context}.runAsGroup=null", f"{context}.fsGroup=null")
        second.install("crds.install=false", f"watchNamespaces={{{kubectl.namespace}}}", *user)
        # Both use one database; its address holds the namespace, so it is good anywhere in the cluster.
        secret = release.kubectl.get("secret", "hammerwork-database")
        metadata = {"name": "hammerwork-database"}
        kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]})
        kubectl.apply(manifests.handlers())
        yield second
    finally:
        kubectl("delete", "jobbatches,workerpools", "--all", "--timeout=60s", seconds=90)
        second.uninstall()
        kubectl("delete", "namespace", kubectl.namespace, "--timeout=60s", seconds=90)
        release.kubectl(*scale, "--replicas=1")
        release.kubectl("rollout", "status", f"deployment/{release.operator}", "--timeout=60s")


def test_a_role_is_enough_for_an_operator_of_one_namespace(namespaced: Release) -> None:
    kubectl = namespaced.kubectl
    account = f"system:serviceaccount:{kubectl.namespace}:{namespaced.operator}"
    kubectl("auth", "can-i", "patch", "jobbatches.hammerwork.io/status", f"--as={account}")
    with pytest.raises(CommandError):
        kubectl("auth", "can-i", "list", "jobbatches.hammerwork.io", "--all-namespaces", f"--as={account}")
    bindings = json.loads(kubectl("get", "clusterrolebindings", "--output", "json"))["items"]
    subjects = [subject for binding in bindings for subject in binding.get("subjects", [])]
    assert kubectl.namespace not in {subject.get("namespace") for subject in subjects}

    assert kubectl("exec", f"deployment/{namespaced.operator}", "--", "id", "-u").strip() == str(UID_OF_A_NAMESPACE)
    kubectl.apply(manifests.pool("own", "record"), manifests.batch("own", 50))
    batch = kubectl.wait_for("jobbatch", "own", lacks_condition("Complete"), seconds=90)
    assert batch["status"]["completedJobs"] == 50
