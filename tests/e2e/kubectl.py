"""kubectl, for one namespace of one cluster."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Manifest: TypeAlias = dict[str, Any]


class CommandError(AssertionError):
    """A command ended with another status than zero."""


def run(
    *command: str,
    environment: Mapping[str, str],
    stdin: str | None = None,
    seconds: float = 60,
) -> str:
    """Run a command, return what it printed; `CommandError` tells what it complained of."""
    done = subprocess.run(
        command, input=stdin, env=dict(environment), capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise CommandError(f"{shlex.join(command)[:500]}: ended with status {done.returncode}: {said}")
    return done.stdout


class Kubectl:
    """Every command works on `namespace` unless its arguments say otherwise."""

    def __init__(self, environment: Mapping[str, str], namespace: str) -> None:
        self.environment = environment
        self.namespace = namespace

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run kubectl and return what it printed."""
        command = ("kubectl", "--namespace", self.namespace, *arguments)
        return run(*command, environment=self.environment, stdin=stdin, seconds=seconds)

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--server-side", "--filename", "-", stdin=json.dumps(content))

    def get(self, kind: str, name: str) -> Manifest:
        """Return one object."""
        found: Manifest = json.loads(self("get", kind, name, "--output", "json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind that the label selector picks."""
        found: list[Manifest] = json.loads(self("get", kind, "--selector", selector, "--output", "json"))["items"]
        return found

    def delete(self, kind: str, name: str, *, seconds: float = 60) -> None:
        """Delete an object and wait until it is gone."""
        self("delete", kind, name, f"--timeout={seconds:g}s", seconds=seconds + 10)

    def proxied(self, service: str, port: str, path: str) -> Any:
        """GET a JSON document from a Service, through the API server."""
        address = f"/api/v1/namespaces/{self.namespace}/services/{service}:{port}/proxy/{path}"
        return json.loads(self("get", "--raw", address))

    def wait_for(self, kind: str, name: str, missing: Callable[[Manifest], str | None], *, seconds: float) -> Manifest:
        """Read an object until `missing` returns None for it; return it then.

        `missing` says what is not yet as it should be. A failed wait tells the last answer and the object's status.
        """
        seen: Manifest = {}

        def probe() -> str | None:
            nonlocal seen
            seen = self.get(kind, name)
            answer = missing(seen)
            return None if answer is None else f"{answer}; status: {json.dumps(seen.get('status'))}"

        wait_until(f"{kind} {self.namespace}/{name}", probe, seconds=seconds, interval=0.3)
        return seen


def conditions(manifest: Manifest) -> dict[str, Manifest]:
    """Return the conditions of an object by type."""
    return {condition["type"]: condition for condition in manifest.get("status", {}).get("conditions", [])}


def lacks_condition(kind: str, status: str = "True") -> Callable[[Manifest], str | None]:
    """Return a function for `Kubectl.wait_for`: has the object this condition?"""

    def missing(manifest: Manifest) -> str | None:
        found = conditions(manifest).get(kind, {}).get("status")
        return None if found == status else f"condition {kind} is {found}, not {status}"

    return missing


def completed_fewer_than(count: int) -> Callable[[Manifest], str | None]:
    """Return a function for `Kubectl.wait_for`: has the batch completed so many jobs?"""

    def missing(batch: Manifest) -> str | None:
        completed = batch.get("status", {}).get("completedJobs", 0)
        return None if completed >= count else f"{completed} jobs completed, waiting for {count}"

    return missing
