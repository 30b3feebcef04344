"""Builds the programs of the cluster from their Go modules, once per set of pins."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError
from tests.cluster.locking import exclusive, lock_path
from tests.cluster.settings import SOURCE_FOLDER, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAMS = (
    "coredns",
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "pause",
)
_SOURCES = ("go.mod", "go.sum", "coredns/main.go", "pause/main.go")
_VERDICTS = ("go.mod", "go.sum", "main.go")
_BUILD_SECONDS = 3600
_PROGRESS_SECONDS = 15


def cache_key(files: Iterable[Path]) -> str:
    """A short digest of the files' names and contents: another pin or source line, another key."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def module_version(go_mod: str, module: str) -> str:
    """The version that a go.mod text requires of a module, such as v1.37.2.

    Raises:
        ClusterError: the text requires no such module.
    """
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise ClusterError(f"go.mod: no requirement of {module}; add one")
    return found[1]


def binaries_folder() -> Path:
    """Where the programs of the present pins are, or will be once they are built."""
    version = module_version((SOURCE_FOLDER / "go.mod").read_text(), "k8s.io/kubernetes")
    return cache_folder() / f"kubernetes-{version}-{cache_key(SOURCE_FOLDER / name for name in _SOURCES)}"


def build() -> Path:
    """Build every program unless that has been done; return their folder."""
    version = module_version((SOURCE_FOLDER / "go.mod").read_text(), "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    linker = " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in stamps.items())])
    # The package that holds etcd's main is named `server`.
    return _build_once(
        binaries_folder(),
        module=SOURCE_FOLDER,
        arguments=["-ldflags", linker, "./coredns", "./pause", "tool"],
        renames={"server": "etcd"},
        programs=PROGRAMS,
    )


def build_kind() -> Path:
    """Build kind, which only CLUSTER=kind needs; return the program."""
    module = SOURCE_FOLDER / "kind"
    version = module_version((module / "go.mod").read_text(), "sigs.k8s.io/kind")
    folder = cache_folder() / f"kind-{version}-{cache_key([module / 'go.mod', module / 'go.sum'])}"
    arguments = ["-ldflags", "-s -w", "tool"]
    return _build_once(folder, module=module, arguments=arguments, renames={}, programs=["kind"]) / "kind"


def build_verdicts() -> Path:
    """Build the program that tells what kstatus and Argo CD say of objects; return it."""
    module = SOURCE_FOLDER / "verdicts"
    version = module_version((module / "go.mod").read_text(), "github.com/fluxcd/cli-utils")
    folder = cache_folder() / f"verdicts-{version}-{cache_key(module / name for name in _VERDICTS)}"
    arguments = ["-ldflags", "-s -w", "."]
    return _build_once(folder, module=module, arguments=arguments, renames={}, programs=["verdicts"]) / "verdicts"


def _build_once(
    folder: Path, *, module: Path, arguments: Sequence[str], renames: dict[str, str], programs: Sequence[str]
) -> Path:
    """A finished folder appears by one rename, so whoever sees it sees all of it."""
    if folder.is_dir():
        return folder
    if shutil.which("go") is None:
        raise ClusterError("go: not found on PATH; install Go 1.26 or later to build the test cluster")
    with exclusive(lock_path(cache_folder(), str(folder)), what=f"building {folder.name}", seconds=_BUILD_SECONDS):
        if folder.is_dir():
            return folder
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _go_build(module, work, arguments, name=folder.name)
            for old, new in renames.items():
                (work / old).rename(work / new)
            missing = [program for program in programs if not (work / program).is_file()]
            if missing:
                raise ClusterError(f"{module / 'go.mod'}: the build made no {', '.join(missing)}; add a tool directive")
            work.chmod(0o755)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _go_build(module: Path, target: Path, arguments: Sequence[str], *, name: str) -> None:
    command = ["go", "build", "-v", "-trimpath", "-o", f"{target}/", *arguments]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    print(f"{name}: building; with nothing in Go's cache this takes minutes, for all of Kubernetes ten", flush=True)
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=module, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        output: list[str] = []
        # Reading blocks while one package takes long, so the deadline is held by a timer.
        timer = threading.Timer(_BUILD_SECONDS, process.kill)
        timer.start()
        told = started
        try:
            for line in process.stderr:
                output.append(line)
                now = time.monotonic()
                if now - told >= _PROGRESS_SECONDS:
                    print(f"{name}: {len(output)} packages after {now - started:.0f} s", flush=True)
                    told = now
        finally:
            timer.cancel()
    if process.returncode != 0:
        tail = "".join(output[-20:])
        raise ClusterError(f"{name}: go build in {module} ended with status {process.returncode}:\n{tail}")
    print(f"{name}: built in {time.monotonic() - started:.0f} s", flush=True)
