"""CRDs of other projects, as these publish them: out of their Go modules, which Go keeps in its own cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from os import environ
from pathlib import Path

from tests.cluster.settings import SOURCE_FOLDER

_SECONDS = 300


class UnavailableModuleError(Exception):
    """Go cannot fetch a module on this machine; the message names it and what Go says."""


@dataclass(frozen=True)
class Module:
    """A pinned Go module, and where in it the CRD is."""

    path: str
    version: str
    digest: str
    crd: str


MODULES = (
    Module(
        "github.com/fluxcd/kustomize-controller",
        "v1.9.6",
        "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE=",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    Module(
        "github.com/fluxcd/source-controller",
        "v1.9.6",
        "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc=",
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
    Module(
        "github.com/argoproj/argo-cd/v3",
        "v3.5.7",
        "h1:Xm1BF+I5OgDKUG3SDK49vn2/Y5AMyaNVko+/JT08gj0=",
        "manifests/crds/application-crd.yaml",
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
)
"""Flux's helm-controller is not here: only the module of its types can be had, see `verdicts.helmrelease`."""


def fetched(module: Module) -> Path:
    """The file of a module's CRD; the module is fetched once for each machine.

    Raises:
        UnavailableModuleError: Go cannot fetch it.
        AssertionError: what Go fetched is not what is pinned.
    """
    if shutil.which("go") is None:
        raise UnavailableModuleError("go: not found on PATH")
    name = f"{module.path}@{module.version}"
    command = ["go", "mod", "download", "-json", name]
    # The digest is the pin; outside of a module, Go would ask a server for it.
    environment = {**environ, "GOSUMDB": "off"}
    done = subprocess.run(
        command,
        cwd=SOURCE_FOLDER.anchor,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableModuleError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    answer = json.loads(done.stdout)
    assert answer["Sum"] == module.digest, f"{name}: its digest is {answer['Sum']}, pinned is {module.digest}"
    return Path(answer["Dir"]) / module.crd
