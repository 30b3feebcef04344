"""The chart, rendered by the real helm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hammerwork_cli.running.documents import read_documents
from tests.cluster.binaries import binaries_folder

ROOT = Path(__file__).resolve().parents[3]

Manifest = dict[str, Any]


class Chart:
    """The chart in charts/hammerwork."""

    folder = ROOT / "charts" / "hammerwork"

    def __init__(self, helm: str, folder: Path = folder) -> None:
        self._helm = helm
        self.folder = folder

    def below(self, folder: Path, **dependency: str) -> Chart:
        """Return a chart in `folder` that has this one as its dependency."""
        shutil.copytree(self.folder, folder / "charts" / "hammerwork")
        dependencies = [{"name": "hammerwork", "version": "*", **dependency}]
        content = {"apiVersion": "v2", "name": "above", "version": "1.0.0", "dependencies": dependencies}
        (folder / "Chart.yaml").write_text(yaml.safe_dump(content))
        return Chart(self._helm, folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm, whatever its status is."""
        return subprocess.run([self._helm, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def render(self, *values: str, release: str = "test", namespace: str = "system") -> list[Manifest]:
        """Return the manifests of a release."""
        done = self.run(*self._template(values, release, namespace))
        assert done.returncode == 0, done.stderr
        return read_documents(done.stdout.encode())

    def refusal(self, *values: str) -> str:
        """Return what helm complains of when it is given these values."""
        done = self.run(*self._template(values))
        assert done.returncode != 0, f"{values} were accepted"
        return done.stderr

    def _template(self, values: tuple[str, ...], release: str = "test", namespace: str = "system") -> list[str]:
        settings = [word for value in values for word in ("--set", value)]
        return ["template", release, str(self.folder), "--namespace", namespace, *settings]


@pytest.fixture(scope="session")
def chart() -> Chart:
    """The chart and a helm to render it: from PATH, else the one that was built for the test cluster."""
    helm = shutil.which("helm") or shutil.which("helm", path=str(binaries_folder()))
    if helm is None:
        pytest.skip("helm is not installed; `python -m tests.cluster build` builds it")
    return Chart(helm)
