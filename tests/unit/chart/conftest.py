"""The chart, rendered by the real helm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import binaries_folder

ROOT = Path(__file__).resolve().parents[3]

Manifest = dict[str, Any]


class Chart:
    """The chart in charts/hammerwork."""

    folder = ROOT / "charts" / "hammerwork"

    def __init__(self, helm: str) -> None:
        self._helm = helm

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm, whatever its status is."""
        return subprocess.run([self._helm, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def render(self, *values: str) -> list[Manifest]:
        """Return the manifests of the release `test` in the namespace `system`."""
        done = self.run(*self._template(values))
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    def refusal(self, *values: str) -> str:
        """Return what helm complains of when it is given these values."""
        done = self.run(*self._template(values))
        assert done.returncode != 0, f"{values} were accepted"
        return done.stderr

    def _template(self, values: tuple[str, ...]) -> list[str]:
        settings = [word for value in values for word in ("--set", value)]
        return ["template", "test", str(self.folder), "--namespace", "system", *settings]


@pytest.fixture(scope="session")
def chart() -> Chart:
    """The chart and a helm to render it: from PATH, else the one that was built for the test cluster."""
    helm = shutil.which("helm") or shutil.which("helm", path=str(binaries_folder()))
    if helm is None:
        pytest.skip("helm is not installed; `python -m tests.cluster build` builds it")
    return Chart(helm)
