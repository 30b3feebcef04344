"""kubectl, for one namespace of one cluster."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from tests.cluster.waiting import wait_until
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.harness.manifests import Manifest

COMMAND_SECONDS = 60.0
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


class CommandError(AssertionError):
    """A command ended with another status than zero; `said` is what it complained of."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def run(
    *command: str,
    environment: Mapping[str, str],
    stdin: str | None = None,
    seconds: float = COMMAND_SECONDS,
) -> str:
    """Run a command, return what it printed; `CommandError` tells what it complained of."""
    done = subprocess.run(
        command, input=stdin, env=dict(environment), capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise CommandError(f"{shlex.join(command)[:500]}: ended with status {done.returncode}: {said}", said)
    return done.stdout


class Kubectl:
    """Every command works on `namespace` unless its arguments say otherwise."""

    def __init__(self, environment: Mapping[str, str], namespace: str, program: str = "kubectl") -> None:
        self.environment = environment
        self.namespace = namespace
        self.program = program

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS) -> str:
        """Run kubectl and return what it printed."""
        command = (self.program, "--namespace", self.namespace, *arguments)
        return run(*command, environment=self.environment, stdin=stdin, seconds=seconds)

    def create(self, manifest: Manifest) -> None:
        """Create an object."""
        self("create", "--filename", "-", stdin=json.dumps(manifest))

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--server-side", "--filename", "-", stdin=json.dumps(content))

    def patch(self, kind: str, name: str, patch: Manifest) -> None:
        """Merge `patch` into an object."""
        self("patch", kind, name, "--type=merge", "--patch", json.dumps(patch))

    def delete(self, kind: str, name: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Delete an object and wait until it is gone."""
        self("delete", kind, name, f"--timeout={seconds:g}s", seconds=seconds + 10)

    def get(self, kind: str, name: str) -> Manifest:
        """Return one object."""
        found: Manifest = json.loads(self("get", kind, name, "--output", "json"))
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return the object, or None if there is none."""
        text = self("get", kind, name, "--output", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def events(self, name: str) -> list[str]:
        """Return the events about an object, e.g. ``Warning JobFailed``, oldest first."""
        selector = f"--field-selector=involvedObject.name={name}"
        found = json.loads(self("get", "events", selector, "--output", "json"))["items"]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [f"{event['type']} {event['reason']}" for event in found]

    def proxied(self, service: str, port: str, path: str) -> Any:
        """GET a JSON document from a Service, through the API server."""
        address = f"/api/v1/namespaces/{self.namespace}/services/{service}:{port}/proxy/{path}"
        return json.loads(self("get", "--raw", address))

    def fetched(self, pod: str, port: int, path: str) -> bytes:
        """GET anything from a Pod, through the API server."""
        address = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy/{path}"
        command = (self.program, "get", "--raw", address)
        done = subprocess.run(
            command, env=dict(self.environment), capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
        if done.returncode != 0:
            raise CommandError(f"GET {address}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    async def wait(
        self, kind: str, name: str, until: Callable[[Manifest], object], *, seconds: float = WAIT_SECONDS
    ) -> Manifest:
        """Return the object once `until` holds of it."""
        found = await eventually(
            lambda: asyncio.to_thread(self.find, kind, name),
            lambda found: found is not None and until(found),
            within=seconds,
            every=_POLL_SECONDS,
            tell=lambda seen: f"{kind} {name}: {_outline(seen)}",
        )
        assert found is not None
        return found

    async def wait_gone(self, kind: str, name: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Return once the object is gone."""
        await eventually(
            lambda: asyncio.to_thread(self.find, kind, name),
            lambda found: found is None,
            within=seconds,
            every=_POLL_SECONDS,
            tell=lambda seen: f"{kind} {name}: {_outline(seen)}",
        )

    async def wait_events(self, name: str, *wanted: str, seconds: float = WAIT_SECONDS) -> None:
        """Return once the events about an object are just these: they come after the status that they speak of."""
        await eventually(
            lambda: asyncio.to_thread(self.events, name),
            lambda events: tuple(events) == wanted,
            within=seconds,
            every=_POLL_SECONDS,
            tell=lambda seen: f"events of {name}: {seen}, not {list(wanted)}",
        )

    def wait_for(self, kind: str, name: str, missing: Callable[[Manifest], str | None], *, seconds: float) -> Manifest:
        """Read an object until `missing` returns None for it; return it then. This blocks.

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

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind that the label selector picks."""
        found: list[Manifest] = json.loads(self("get", kind, "--selector", selector, "--output", "json"))["items"]
        return found


def _outline(manifest: Manifest | None) -> str:
    seen = manifest and {key: manifest.get(key) for key in ("metadata", "status")}
    return json.dumps(seen, indent=1)


def conditions(manifest: Manifest) -> dict[str, Manifest]:
    """Return the conditions of an object by type."""
    return {condition["type"]: condition for condition in manifest.get("status", {}).get("conditions", [])}


def condition(manifest: Manifest, kind: str) -> str:
    """Return e.g. ``True Running``, or ``-`` where there is no such condition."""
    found = conditions(manifest).get(kind)
    return f"{found['status']} {found['reason']}" if found else "-"


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
