"""The manifests of the thumbnails example."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[3] / "examples" / "thumbnails"


def test_a_cluster_gets_the_same_pictures() -> None:
    given = yaml.safe_load((FOLDER / "pictures.yaml").read_text())["binaryData"]
    pictures = {path.name: path.read_bytes() for path in (FOLDER / "pictures").iterdir()}
    assert {name: base64.b64decode(content) for name, content in given.items()} == pictures
    wanted = {f"pictures/{name}" for name in pictures}
    batch = yaml.safe_load((FOLDER / "batch.yaml").read_text())
    assert {job["payload"]["in"] for job in batch["spec"]["jobs"]} == wanted
