"""The images and the chart on the cluster that CLUSTER chooses (see tests/cluster)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.settings import Kind, chosen_kind
from tests.harness.kubectl import CommandError, Kubectl, run

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "hammerwork"
OPERATOR_SELECTOR = "app.kubernetes.io/name=hammerwork-operator"
_BUILD_SECONDS = 900.0
_INSTALL_SECONDS = 90.0


@dataclass(frozen=True)
class Images:
    """Where the images of this run are: what their names begin with, and their tag."""

    registry: str
    tag: str

    def name(self, component: str) -> str:
        """Return the full name of an image."""
        return f"{self.registry}/{component}:{self.tag}"

    def values(self, component: str, image: str) -> list[str]:
        """Return the chart's values that choose an image."""
        return [f"{component}.image.repository={self.registry}/{image}", f"{component}.image.tag={self.tag}"]


def chosen_images(environment: Mapping[str, str] = os.environ) -> Images:
    """Return the images that REGISTRY and TAG name, the variables of scripts/build-images.sh."""
    return Images(environment.get("REGISTRY", "localhost/hammerwork"), environment.get("TAG", "dev"))


def cluster_environment() -> dict[str, str]:
    """Return the environment in which kubectl and helm work on the cluster that is up."""
    environment = dict(os.environ)
    script = 'eval "$("$0" -m tests.cluster env)" && printf "%s\\n%s" "$KUBECONFIG" "$PATH"'
    kubeconfig, path = run("bash", "-c", script, sys.executable, environment=environment).split("\n")
    return {**environment, "KUBECONFIG": kubeconfig, "PATH": path}


def provide_images(environment: Mapping[str, str]) -> None:
    """Build the images and load them into the cluster; one that was not started here has to pull them."""
    if chosen_kind() is Kind.CURRENT:
        return
    # Inherited streams: a build that waits for the network should be seen to.
    subprocess.run([ROOT / "scripts" / "build-images.sh"], env=dict(environment), timeout=_BUILD_SECONDS, check=True)
    archives = [str(path) for path in sorted((ROOT / "build" / "images").glob("*.tar"))]
    run(sys.executable, "-m", "tests.cluster", "load-image", *archives, environment=environment, seconds=_BUILD_SECONDS)


class Release:
    """The chart, installed in a namespace."""

    def __init__(self, kubectl: Kubectl, images: Images, name: str = "hammerwork") -> None:
        self.kubectl = kubectl
        self.images = images
        self.name = name

    @property
    def operator(self) -> str:
        """Name of the operator's Deployment."""
        return f"{self.name}-operator" if "hammerwork" in self.name else f"{self.name}-hammerwork-operator"

    def helm(self, *arguments: str) -> str:
        """Run helm on the release's namespace."""
        command = ("helm", "--namespace", self.kubectl.namespace, *arguments)
        return run(*command, environment=self.kubectl.environment, seconds=_INSTALL_SECONDS + 30)

    def database_values(self) -> list[str]:
        """Return the chart's values for a PostgreSQL beside the operator."""
        settings = ["postgresql.enabled=true", "postgresql.persistence.enabled=false"]
        return [*settings, *self.images.values("postgresql", "postgresql")]

    def install(self, *values: str) -> None:
        """Install or upgrade, and wait until everything is ready."""
        settings = [
            *self.images.values("operator", "operator"),
            *self.images.values("worker", "worker"),
            "operator.logFormat=text",
            *values,
        ]
        command = [
            "upgrade",
            "--install",
            self.name,
            str(CHART),
            "--create-namespace",
            "--wait",
            f"--timeout={_INSTALL_SECONDS:g}s",
            # The definitions belong to the release that was there before, if there was one.
            "--take-ownership",
            *(word for value in settings for word in ("--set", value)),
        ]
        try:
            self.helm(*command)
        except CommandError as error:
            raise CommandError(f"{error}\n{self.report()}") from None

    def uninstall(self) -> None:
        """Remove the release; its namespace stays."""
        self.helm("uninstall", self.name, "--wait", "--timeout=60s")

    def report(self) -> str:
        """Return what the cluster says of the release, for the message of a failed test."""
        commands = (
            ("get", "jobbatches,workerpools,pods", "--output", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", f"deployment/{self.operator}", "--tail=60"),
            ("logs", "--selector=app.kubernetes.io/name=hammerwork-worker", "--tail=30", "--prefix"),
        )
        return "\n".join(self._output(*command) for command in commands)

    def _output(self, *command: str) -> str:
        title = f"--- kubectl {' '.join(command)}\n"
        try:
            return title + self.kubectl(*command)
        except CommandError as error:
            return title + str(error)

    def operator_pods(self) -> set[str]:
        """Return the names of the operator's Pods that are not about to end."""
        pods = self.kubectl.list("pods", f"{OPERATOR_SELECTOR},app.kubernetes.io/instance={self.name}")
        return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def other_operators(kubectl: Kubectl) -> list[str]:
    """Return the operators of other namespaces that serve ours too, as NAMESPACE/NAME."""
    selector = ("--selector", OPERATOR_SELECTOR)
    found = json.loads(kubectl("get", "deployments", "--all-namespaces", *selector, "--output", "json"))["items"]
    return [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in found
        if item["metadata"]["namespace"] != kubectl.namespace
        and item["spec"]["replicas"] > 0
        and {"name": "HAMMERWORK_WATCH_NAMESPACES", "value": ""} in _variables(item)
    ]


def _variables(deployment: dict[str, object]) -> list[dict[str, object]]:
    content = json.loads(json.dumps(deployment))
    return [
        {"name": variable["name"], "value": variable.get("value", "")}
        for variable in content["spec"]["template"]["spec"]["containers"][0]["env"]
    ]
