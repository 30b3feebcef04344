"""What tools say of objects: kstatus by its library, Argo CD by our checks, Flux by expressions and its types."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.binaries import build_verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.harness.manifests import Manifest

ARGOCD_SETTINGS = Path(__file__).parents[2] / "deploy" / "argocd" / "argocd-cm.yaml"
_SECONDS = 30


def kstatus(objects: Iterable[Manifest]) -> list[str]:
    """Return for each object InProgress, Current, Failed or Terminating."""
    return [verdict["status"] for verdict in _judge(objects, "kstatus")]


def argocd(objects: Iterable[Manifest]) -> list[str]:
    """Return for each object Healthy, Progressing, Degraded or Suspended, and the message behind a colon."""
    return [f"{verdict['status']}: {verdict['message']}" for verdict in _judge(objects, "argocd", str(ARGOCD_SETTINGS))]


def flux(expression: str, objects: Iterable[Manifest]) -> list[bool]:
    """Return for each object whether an expression of Flux's healthCheckExprs holds."""
    return [verdict["status"] == "true" for verdict in _judge(objects, "flux", expression)]


def helmrelease(objects: Iterable[Manifest]) -> list[str]:
    """Return for each object what keeps Flux from reading it as a HelmRelease: unknown fields, or others' types.

    Empty: nothing. What else its CRD demands, such as that a field is there, is not seen.
    """
    return [verdict["message"] for verdict in _judge(objects, "helmrelease")]


def _judge(objects: Iterable[Manifest], *arguments: str) -> list[dict[str, str]]:
    text = "\n".join(json.dumps(manifest) for manifest in objects)
    command = [str(build_verdicts()), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]
