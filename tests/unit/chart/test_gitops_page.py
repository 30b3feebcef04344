"""What docs/gitops.md shows does what it says: templates of Helm, kustomize, values of the chart.

What tools that are not here know of its manifests: tests/apiserver/test_documentation.py.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cluster.binaries import binaries_folder

if TYPE_CHECKING:
    from tests.unit.chart.conftest import Chart

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "gitops.md").read_text()
BLOCKS: list[str] = re.findall(r"^```(?:yaml|helm)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TEMPLATE = "# templates/batch.yaml\n"


def block(first_line: str) -> str:
    (found,) = (text for text in BLOCKS if text.startswith(first_line))
    return found


def test_placeholders_come_through_helm_as_the_page_writes_them(chart: Chart, tmp_path: Path) -> None:
    def rendered(template: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: batches, version: 1.0.0}")
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "templates" / "batch.yaml").write_text(template)
        return chart.run("template", "mails", str(tmp_path))

    done = rendered(block(TEMPLATE))
    assert done.returncode == 0, done.stderr
    payload = yaml.safe_load(done.stdout)["spec"]["generate"]["payload"]
    assert payload == {"file": "file_{{ index }}", "other": "{{ index }}"}
    assert "wrong number of args for index" in rendered("file: file_{{ index }}").stderr


def test_kustomize_gives_batch_and_configmap_new_names(tmp_path: Path) -> None:
    kubectl = binaries_folder() / "kubectl"
    if not kubectl.exists():
        pytest.skip("kubectl is not built; `python -m tests.cluster build` builds it")
    for name in ("kustomization.yaml", "references.yaml"):
        (tmp_path / name).write_text(block(f"# {name}\n"))
    spec: dict[str, Any] = {"queue": "mail", "configMapRefs": [{"name": "jobs", "key": "jobs.ndjson"}]}
    kind = {"apiVersion": "hammerwork.io/v1alpha1", "kind": "JobBatch", "metadata": {"name": "mails"}, "spec": spec}
    (tmp_path / "batch.yaml").write_text(yaml.safe_dump(kind))
    (tmp_path / "jobs.ndjson").write_text("{}\n")
    command = [str(kubectl), "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    configmap, batch = yaml.safe_load_all(done.stdout)
    assert re.fullmatch("jobs-2026-05-01-[a-z0-9]{10}", configmap["metadata"]["name"])
    assert batch["metadata"]["name"] == "mails-2026-05-01"
    assert batch["spec"]["configMapRefs"] == [{"name": configmap["metadata"]["name"], "key": "jobs.ndjson"}]


def test_the_release_of_the_page_is_taken_by_the_chart(chart: Chart, tmp_path: Path) -> None:
    (release,) = (found for text in BLOCKS if "HelmRelease" in text for found in [yaml.safe_load(text)])
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(release["spec"]["values"]))
    done = chart.run("template", "hammerwork", str(chart.folder), "--values", str(values))
    assert done.returncode == 0, done.stderr
    assert 'image: "registry.example.com/hammerwork/operator:0.1.0"' in done.stdout
