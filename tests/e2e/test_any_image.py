"""Any image is a worker: without Python, libc or shell, as a user whom it does not know, where Pods are restricted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.images import write_archive
from tests.cluster.settings import Kind, chosen_kind
from tests.e2e import manifests
from tests.harness.kubectl import CommandError, Kubectl, lacks_condition, run
from tests.harness.manifests import API_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.release import Release
    from tests.harness.manifests import Manifest

pytestmark = pytest.mark.skipif(chosen_kind() is Kind.CURRENT, reason="loads images into the cluster")

JOBS = 20
USER = 1_000_680_000
"""No image knows it, as on OpenShift, which gives each namespace users of its own."""
# In the words of a POSIX shell; "$@" goes before commands. any_image.c has the same in C, and SSL_CERT_FILE, which the
# Debian image sets itself.
CHECKS = """
read -r payload
case $payload in *'"index"'*) ;; *) exit 101 ;; esac
[ -z "$PYTHONHOME$LD_LIBRARY_PATH$LC_CTYPE$HAMMERWORK_DATABASE_URL" ] || exit 102
[ "$OWN $PYTHONPATH" = "kept /own" ] || exit 103
[ -n "$HAMMERWORK_JOB_INDEX" ] && [ "$("$@" id -u)" = 1000680000 ] || exit 104
"$@" touch /written 2>/dev/null && exit 105
exit 0
"""
COMMANDS = {
    "busybox": ["/busybox", "sh", "-c", CHECKS, "sh", "/busybox"],
    "static": ["/static"],
    "debian": ["/bin/sh", "-c", CHECKS, "sh", "/usr/bin/env"],
}


@pytest.fixture(scope="module")
def images(release: Release, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A static busybox, one static program, and a Debian, which is in the cluster already."""
    folder = tmp_path_factory.mktemp("images")
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    programs = {"busybox": Path(busybox), "static": folder / "static"}
    source = Path(__file__).with_name("any_image.c")
    subprocess.run(["gcc", "-static", "-O1", "-o", programs["static"], source], check=True, timeout=60)
    names = {kind: f"localhost/hammerwork/test-{kind}:dev" for kind in programs}
    archives = [folder / f"{kind}.tar" for kind in programs]
    for archive, (kind, program) in zip(archives, programs.items(), strict=True):
        write_archive(archive, names[kind], program)
    command = (sys.executable, "-m", "tests.cluster", "load-image", *map(str, archives))
    run(*command, environment=release.kubectl.environment)
    return {**names, "debian": release.images.name("postgresql")}


@pytest.fixture
def restricted(release: Release) -> Iterator[Kubectl]:
    """kubectl in a namespace where the restricted Pod security standard is enforced."""
    kubectl = Kubectl(release.kubectl.environment, f"{release.kubectl.namespace}-restricted")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kubectl.namespace, "labels": labels}})
    try:
        secret = release.kubectl.get("secret", "hammerwork-database")
        metadata = {"name": "hammerwork-database"}
        kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]})
        yield kubectl
    finally:
        kubectl("delete", "jobbatches,workerpools", "--all", "--timeout=60s", seconds=90)
        kubectl("delete", "namespace", kubectl.namespace, "--wait=false")


def pool(kind: str, image: str) -> Manifest:
    """A pool whose container has nothing of ours; its environment would mislead any Python."""
    environment = [{"name": "OWN", "value": "kept"}, {"name": "PYTHONPATH", "value": "/own"}]
    template = {
        "spec": {
            "securityContext": {"runAsUser": USER},
            "containers": [{"name": "worker", "image": image, "env": environment}],
        }
    }
    spec: dict[str, Any] = {"queue": kind, "handler": {"exec": {"command": COMMANDS[kind]}}, "template": template}
    return {"apiVersion": API_VERSION, "kind": "WorkerPool", "metadata": {"name": kind}, "spec": spec}


def test_any_image_is_a_worker(restricted: Kubectl, images: dict[str, str]) -> None:
    restricted.apply(*(pool(kind, image) for kind, image in images.items()))
    restricted.apply(*(manifests.batch(kind, JOBS) for kind in images))
    for kind, image in images.items():
        try:
            batch = restricted.wait_for("jobbatch", kind, lacks_condition("Complete"), seconds=60)
        except AssertionError as error:
            raise AssertionError(f"{kind}: {error}\n{told(restricted, kind)}") from None
        outcome = (batch["status"]["completedJobs"], batch["status"]["failedJobs"])
        assert outcome == (JOBS, 0), f"{kind}: {json.dumps(batch['status'])}"
        (pod,) = restricted.list("pods", manifests.worker_pods(kind))
        (copied,) = pod["status"]["initContainerStatuses"]
        (worker,) = pod["status"]["containerStatuses"]
        assert copied["state"]["terminated"]["reason"] == "Completed"
        assert (worker["image"], worker["restartCount"]) == (image, 0)


def told(kubectl: Kubectl, kind: str) -> str:
    """What the pool's Pods and their logs say."""
    texts = []
    selector = f"--selector={manifests.worker_pods(kind)}"
    for command in (("get", "pods", selector, "-o", "yaml"), ("logs", selector, "--all-containers", "--tail=20")):
        try:
            texts.append(kubectl(*command)[-4000:])
        except CommandError as error:
            texts.append(str(error))
    return "\n".join(texts)
