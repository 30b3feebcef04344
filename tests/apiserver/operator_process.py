"""The operator as a process of its own, with no more rights than its Role gives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.kubectl import Kubectl

OPERATOR: Sequence[str] = ("-m", "hammerwork_operator")
"""What Python runs."""
START_SECONDS = 60.0
STOP_SECONDS = 40.0

RIGHTS = Path(__file__).resolve().parents[2] / "charts" / "hammerwork" / "files" / "rights.yaml"


def service_account_kubeconfig(kubectl: Kubectl, folder: Path) -> Path:
    """Create a service account with the operator's Role in the namespace; return a kubeconfig of it."""
    metadata = {"name": "hammerwork-operator", "namespace": kubectl.namespace}
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]}
    rbac = "rbac.authorization.k8s.io/v1"
    rules = yaml.safe_load(RIGHTS.read_text())["rules"]
    kubectl.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    kubectl.create({"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": rules})
    kubectl.create(
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject], "roleRef": role}
    )
    token = kubectl("create", "token", metadata["name"], "--duration=2h").strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


class OperatorUnderTest:
    """Starts, stops and kills `python -m hammerwork_operator`, or what runs the same another way."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, program: Sequence[str] = OPERATOR) -> None:
        self.kubeconfig = kubeconfig
        self.program = program
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HAMMERWORK_")},
            "KUBECONFIG": str(kubeconfig),
            "HAMMERWORK_WATCH_NAMESPACES": namespace,
            "HAMMERWORK_OPERATOR_PORT": "0",
            "HAMMERWORK_WORKER_IMAGE": "example/worker:1",
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self.port = 0

    def start(self, *, probe: str = "/readyz") -> None:
        """Return when the operator says that it is ready, or what else `probe` asks."""
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program], env=self.environment, stdout=log, stderr=log
            )
        process = self._process

        def missing() -> str | None:
            if self.probe(probe) == 200:
                return None
            if process.poll() is not None:
                raise RuntimeError(f"the operator has ended:\n{self.log()}")
            return self.log()

        wait_until("the operator to get ready", missing, seconds=START_SECONDS)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def running(self) -> bool:
        """Return whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Return what it has logged since its last start."""
        return self._log.read_bytes()[self._log_start :].decode() if self._log.exists() else ""

    def wait_log(self, words: str) -> None:
        """Return once the log has these words."""
        wait_until(f"{words!r} in the log", lambda: None if words in self.log() else self.log(), seconds=START_SECONDS)

    def probe(self, path: str) -> int:
        """Return the HTTP status of a path, 0 while there is no answer."""
        try:
            return self.fetch(path)[0]
        except OSError:
            return 0

    def fetch(self, path: str) -> tuple[int, str]:
        """Return the HTTP status and the text of a path."""
        found = re.search(r"probes and metrics on port (\d+)", self.log())
        if found is None:
            raise ConnectionError("the operator has not opened its port yet")
        self.port = int(found[1])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"the operator did not stop in {STOP_SECONDS:g} s:\n{self.log()}") from None


def without_finalizers(kubectl: Kubectl) -> None:
    """Let go of JobBatches that a stopped operator left, so that their namespace can go."""
    for item in json.loads(kubectl("get", "jobbatches", "-o", "json"))["items"]:
        if item["metadata"].get("finalizers"):
            kubectl.patch("jobbatch", item["metadata"]["name"], {"metadata": {"finalizers": None}})
