"""The manifests that pages of the documentation show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hammerwork_cli.running.documents import read_documents

if TYPE_CHECKING:
    from tests.harness.manifests import Manifest

ROOT = Path(__file__).parents[2]
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def manifests(page: str, kind: str = "") -> list[Manifest]:
    """Return each whole manifest, of a kind or of any, in the text of a page; what shows only a part is left out."""
    return [
        manifest
        for block in _YAML.findall(page)
        for manifest in read_documents(block.encode())
        if isinstance(manifest, dict) and "kind" in manifest and kind in ("", manifest["kind"])
    ]


def documented(kind: str = "") -> list[tuple[str, Manifest]]:
    """Return the page and the content of each whole manifest, of a kind or of any."""
    return [
        (page.name, manifest)
        for page in sorted((ROOT / "docs").glob("*.md"))
        for manifest in manifests(page.read_text(), kind)
    ]
