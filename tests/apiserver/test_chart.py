"""What only an API server can say of the chart: whether Pods come of it, and whether its upgrades fit the data."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.conftest import ROOT
from tests.cluster.binaries import binaries_folder
from tests.harness.kubectl import CommandError, run

if TYPE_CHECKING:
    from tests.apiserver.kubectl import Kubectl

LONGEST_NAME = "r" * 53


class Helm:
    """Helm, for one release with a PostgreSQL that is not seen beyond its namespace."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        program = binaries_folder() / "helm"
        self._program = str(program) if program.exists() else shutil.which("helm") or "helm"
        self._kubectl = kubectl
        self._name = name
        values = ("crds.install=false", f"watchNamespaces={{{kubectl.namespace}}}", "postgresql.enabled=true")
        self._values = (
            *values,
            "metrics.service=true",
            "networkPolicy.enabled=true",
            "networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
        )

    def __call__(self, command: str, *arguments: str) -> str:
        line = (self._program, "--namespace", self._kubectl.namespace, command, self._name, *arguments)
        return run(*line, environment=self._kubectl.environment)

    def install(self, *values: str) -> None:
        """Install or upgrade; nothing is waited for, since no node runs the Pods."""
        self("upgrade", "--install", *self._chart(values))

    def rendered(self, *values: str) -> str:
        """Return the manifests."""
        return self("template", *self._chart(values))

    def _chart(self, values: tuple[str, ...]) -> list[str]:
        settings = [word for value in (*self._values, *values) for word in ("--set", value)]
        return [str(ROOT / "charts" / "hammerwork"), *settings]

    def refusal(self, *values: str) -> str:
        with pytest.raises(CommandError) as refused:
            self.install(*values)
        return refused.value.said


@pytest.mark.usefixtures("foreign_crds")
def test_each_field_of_what_the_chart_makes_is_known(kubectl: Kubectl) -> None:
    rendered = Helm(kubectl, "a").rendered("metrics.podMonitor.enabled=true")
    assert "kind: PodMonitor" in rendered
    kubectl("apply", "--dry-run=server", "--validate=strict", "--server-side", "--filename=-", stdin=rendered)


async def test_the_longest_release_name_has_a_database_pod(kubectl: Kubectl) -> None:
    Helm(kubectl, LONGEST_NAME).install()
    (stateful_set,) = kubectl.list("statefulsets")
    pod = await kubectl.wait("pod", f"{stateful_set['metadata']['name']}-0", lambda _pod: True)
    assert len(pod["metadata"]["labels"]["controller-revision-hash"]) <= 63


def test_an_upgrade_that_the_data_cannot_take_is_refused(kubectl: Kubectl) -> None:
    helm = Helm(kubectl, "a")
    helm.install()
    remedy = "Keep that, or delete the StatefulSet a-hammerwork-postgresql and its PersistentVolumeClaim"
    user = "postgresql.username: is other, but the database on the volume was made with hammerwork. "
    assert user + remedy in helm.refusal("postgresql.username=other")
    assert "postgresql.database: is other, but" in helm.refusal("postgresql.database=other")

    password = kubectl.get("secret", "hammerwork-database")["data"]["password"]
    kubectl.create(secret("mine", "bWluZQ=="))
    kubectl.create(secret("same", password))
    assert "Secret mine has not the password of Secret hammerwork-database" in helm.refusal(
        "postgresql.existingSecret=mine"
    )
    helm.install("postgresql.existingSecret=same")
    kubectl("delete", "secret", "hammerwork-database", "--ignore-not-found")
    assert "Secret hammerwork-database has not the password of Secret same" in helm.refusal()


def test_a_release_that_comes_back_finds_its_database(kubectl: Kubectl) -> None:
    helm = Helm(kubectl, "a")
    helm.install("postgresql.username=first")
    helm("uninstall")
    assert "postgresql.username: is hammerwork, but" in helm.refusal()
    helm.install("postgresql.username=first")
    helm("uninstall")
    kubectl("delete", "secret", "hammerwork-database")
    helm.install()


def test_without_a_volume_there_is_no_data_to_keep(kubectl: Kubectl) -> None:
    helm = Helm(kubectl, "a")
    helm.install("postgresql.persistence.enabled=false")
    helm.install("postgresql.persistence.enabled=false", "postgresql.username=other")


def secret(name: str, password: str) -> dict[str, object]:
    """Return a Secret for postgresql.existingSecret; `password` is encoded."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"password": password}}
