"""Each field of a kind's spec has an example in the documentation; tests/apiserver applies them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork_operator.crd import definitions
from tests.harness.documented import ROOT, documented, manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECS = {
    found["spec"]["names"]["kind"]: found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for found in definitions().values()
}
# This is a JobBatch's, whose own page shows it.
SPECS["JobBatchSchedule"]["properties"]["template"]["properties"]["spec"] = {
    "x-kubernetes-preserve-unknown-fields": True
}
SECTIONS = re.compile(r"^### ", re.MULTILINE)


def is_free(schema: dict[str, Any]) -> bool:
    """Return whether a field may hold what the schema does not list, such as the template of a Pod."""
    return "x-kubernetes-preserve-unknown-fields" in schema or "additionalProperties" in schema


def fields(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the paths of all fields that a schema has."""
    for name, field in schema.get("properties", {}).items():
        yield f"{above}{name}"
        yield from fields(field.get("items", field), f"{above}{name}.")


def given(value: object, schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the paths of all fields that a manifest has."""
    if isinstance(value, list):
        for entry in value:
            yield from given(entry, schema["items"], above)
    elif isinstance(value, dict) and not is_free(schema):
        for name, field in value.items():
            yield f"{above}{name}"
            yield from given(field, schema.get("properties", {}).get(name, {}), f"{above}{name}.")


@pytest.mark.parametrize("kind", SPECS)
def test_each_field_has_an_example(kind: str) -> None:
    known = set(fields(SPECS[kind]))
    shown = {path for _, manifest in documented(kind) for path in given(manifest["spec"], SPECS[kind])}
    assert sorted(known - shown) == []
    assert sorted(shown - known) == []


@pytest.mark.parametrize("field", SPECS["JobBatch"]["properties"])
def test_each_field_of_a_batch_has_a_section_with_a_whole_manifest(field: str) -> None:
    _, *sections = SECTIONS.split((ROOT / "docs" / "jobbatch.md").read_text())
    (section,) = [text for text in sections if f"`{field}`" in text.splitlines()[0]]
    assert any(field in manifest["spec"] for manifest in manifests(section, "JobBatch"))
