"""Each field of a WorkerPool has an example in the documentation; tests/apiserver applies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork_operator.crd import definitions
from tests.harness.documented import documented

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE = "template"
"""Whatever a Pod's template may have is not listed."""


def fields(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the paths of all fields that a schema has."""
    for name, field in schema.get("properties", {}).items():
        yield f"{above}{name}"
        yield from fields(field.get("items", field), f"{above}{name}.")


def given(value: object, above: str = "") -> Iterator[str]:
    """Yield the paths of all fields that a manifest has."""
    if isinstance(value, list):
        for entry in value:
            yield from given(entry, above)
    elif isinstance(value, dict):
        for name, field in value.items():
            yield f"{above}{name}"
            if f"{above}{name}" != FREE:
                yield from given(field, f"{above}{name}.")


def test_each_field_of_a_pool_has_an_example() -> None:
    (version,) = definitions()["workerpools.yaml"]["spec"]["versions"]
    known = set(fields(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))
    shown = {path for _, pool in documented("WorkerPool") for path in given(pool["spec"])}
    assert sorted(known - shown) == []
    assert sorted(shown - known) == []
