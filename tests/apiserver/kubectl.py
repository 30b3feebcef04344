"""kubectl of an administrator of the control plane."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.harness import kubectl

if TYPE_CHECKING:
    from pathlib import Path


class Kubectl(kubectl.Kubectl):
    """A program with a kubeconfig, and a default namespace."""

    def __init__(self, program: str, kubeconfig: Path, namespace: str) -> None:
        super().__init__({**os.environ, "KUBECONFIG": str(kubeconfig)}, namespace, program)
        self.kubeconfig = kubeconfig
