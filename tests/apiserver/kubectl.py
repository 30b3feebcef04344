"""Runs kubectl against the test's API server, in the test's namespace."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND_SECONDS = 60
WAIT_SECONDS = 60.0

Manifest = dict[str, Any]


class KubectlError(RuntimeError):
    """kubectl said no; the text is what it printed on the standard error stream."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig and a default namespace."""

    program: str
    kubeconfig: Path
    namespace: str

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """Run one command and return its output; `given` is its input."""
        done = subprocess.run(
            [self.program, "--namespace", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip())
        return done.stdout

    def create(self, manifest: Manifest) -> None:
        self("create", "-f", "-", given=json.dumps(manifest))

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return the object, or None if there is none."""
        text = self("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def patch(self, kind: str, name: str, patch: Manifest) -> None:
        self("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def events(self, name: str) -> list[str]:
        """Return the events about an object, e.g. ``Warning JobFailed``, oldest first."""
        found = json.loads(self("get", "events", f"--field-selector=involvedObject.name={name}", "-o", "json"))["items"]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [f"{event['type']} {event['reason']}" for event in found]

    async def wait_events(self, name: str, *wanted: str, seconds: float = WAIT_SECONDS) -> None:
        """Return once the events about an object are just these: they come after the status that they speak of."""
        deadline = time.monotonic() + seconds
        while (seen := await asyncio.to_thread(self.events, name)) != list(wanted):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s for the events {wanted} of {name}; last seen: {seen}")
            await asyncio.sleep(0.1)

    async def wait(
        self, kind: str, name: str, until: Callable[[Manifest], object], *, seconds: float = WAIT_SECONDS
    ) -> Manifest:
        """Return the object once `until` holds of it."""
        deadline = time.monotonic() + seconds
        while True:
            found = await asyncio.to_thread(self.find, kind, name)
            if found is not None and until(found):
                return found
            if time.monotonic() > deadline:
                seen = found and {key: found.get(key) for key in ("metadata", "status")}
                raise TimeoutError(f"waited {seconds:g} s for {kind} {name}; last seen: {json.dumps(seen, indent=1)}")
            await asyncio.sleep(0.1)

    async def wait_gone(self, kind: str, name: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Return once the object is gone."""
        deadline = time.monotonic() + seconds
        while (found := await asyncio.to_thread(self.find, kind, name)) is not None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s for {kind} {name} to go: {json.dumps(found['metadata'])}")
            await asyncio.sleep(0.1)


def condition(manifest: Manifest, kind: str) -> str:
    """Return e.g. ``True Running``, or ``-`` where there is no such condition."""
    found = [entry for entry in manifest.get("status", {}).get("conditions", ()) if entry["type"] == kind]
    return f"{found[0]['status']} {found[0]['reason']}" if found else "-"
