"""The chart's second and later installations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.release import Release
    from tests.harness.kubectl import Kubectl


def test_an_upgrade_keeps_password_and_database(release: Release, kubectl: Kubectl) -> None:
    pod = f"{release.name}-postgresql-0"
    secret, database = kubectl.get("secret", "hammerwork-database"), kubectl.get("pod", pod)
    release.install(*release.database_values(), "operator.podLabels.upgraded=yes")
    assert kubectl.get("secret", "hammerwork-database")["data"] == secret["data"]
    assert kubectl.get("pod", pod)["metadata"]["uid"] == database["metadata"]["uid"]
    deployment = kubectl.get("deployment", release.operator)
    assert deployment["spec"]["template"]["metadata"]["labels"]["upgraded"] == "yes"


def test_the_operator_tells_its_metrics(release: Release, kubectl: Kubectl) -> None:
    (pod,) = release.operator_pods()
    said = kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:8080/proxy/metrics")
    assert "hammerwork_operator" in said
