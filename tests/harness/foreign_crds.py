"""CRDs of other projects, as these publish them: out of their Go modules, which Go keeps in its own cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.settings import SOURCE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 200
"""For all modules together, less than a test may take."""


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


def fetched() -> list[Path]:
    """Return the files of the CRDs; the modules are fetched once for each machine.

    Raises:
        UnavailableModuleError: Go cannot fetch one.
        AssertionError: What Go fetched is not what is pinned.
    """
    if shutil.which("go") is None:
        raise UnavailableModuleError("go: not found on PATH")
    named = {f"{module.path}@{module.version}": module for module in MODULES}
    command = ["go", "mod", "download", "-json", *named]
    # The digest is the pin; outside of a module, Go would ask a server for it.
    environment = {**environ, "GOSUMDB": "off"}
    try:
        done = subprocess.run(
            command,
            cwd=SOURCE_FOLDER.anchor,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableModuleError(str(error)) from error
    if done.returncode != 0:
        raise UnavailableModuleError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    files = []
    for answer in _documents(done.stdout):
        name = f"{answer['Path']}@{answer['Version']}"
        module = named[name]
        assert answer["Sum"] == module.digest, f"{name}: its digest is {answer['Sum']}, pinned is {module.digest}"
        files.append(Path(answer["Dir"]) / module.crd)
    return files


def _documents(text: str) -> Iterator[dict[str, str]]:
    """Yield JSON objects that are written one after the other."""
    decoder, end = json.JSONDecoder(), 0
    while text := text[end:].lstrip():
        found, end = decoder.raw_decode(text)
        yield found
