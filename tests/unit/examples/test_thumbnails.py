"""The manifests of the thumbnails example."""

from __future__ import annotations

import base64
from pathlib import Path

from hammerwork_cli.running.documents import read_documents

FOLDER = Path(__file__).parents[3] / "examples" / "thumbnails"


def test_a_cluster_gets_the_same_pictures() -> None:
    (pictures_map,) = read_documents((FOLDER / "pictures.yaml").read_bytes())
    given = pictures_map["binaryData"]
    pictures = {path.name: path.read_bytes() for path in (FOLDER / "pictures").iterdir()}
    assert {name: base64.b64decode(content) for name, content in given.items()} == pictures
    wanted = {f"pictures/{name}" for name in pictures}
    (batch,) = read_documents((FOLDER / "batch.yaml").read_bytes())
    assert {job["payload"]["in"] for job in batch["spec"]["jobs"]} == wanted
