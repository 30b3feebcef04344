"""Pages of reference, made from the CRDs: every field with its type, its limits and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.crd import definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hammerwork_operator.crd import Schema

_HEAD = """<!-- Made by `make generated` from operator/hammerwork_operator. -->

# {kind}

{description} [The Kubernetes API](../kubernetes-api.md) tells how it is used.
API version `{group}/{version}`, short name `{short}`. Fields in **bold** are required.
"""
_TABLE = """
## {name}

{description}

| field | type | default | limits | |
|---|---|---|---|---|
"""
_LIMITS = (
    ("minimum", "≥ {:,}"),
    ("maximum", "≤ {:,}"),
    ("minItems", "≥ {:,} entries"),
    ("maxItems", "≤ {:,} entries"),
    ("maxProperties", "≤ {:,} entries"),
    ("maxLength", "≤ {:,} characters"),
)


def pages() -> dict[str, str]:
    """Return the text of a page for each kind, by the name of its file."""
    return {f"{found['spec']['names']['singular']}.md": _page(found["spec"]) for found in definitions().values()}


def _page(spec: Schema) -> str:
    names, (version,) = spec["names"], spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    (short,) = names["shortNames"]
    page = _HEAD.format(
        kind=names["kind"],
        group=spec["group"],
        version=version["name"],
        short=short,
        description=schema["description"],
    )
    for name in ("spec", "status"):
        part = schema["properties"][name]
        page += _TABLE.format(name=name, description=part["description"])
        page += "".join(f"| {' | '.join(row)} |\n" for row in _rows(part, ""))
        rules = part.get("x-kubernetes-validations", [])
        fixed = [rule["fieldPath"] for rule in rules if rule.get("reason") == "FieldValueForbidden"]
        page += "".join(
            f"\nRule: {rule['message']}.\n" for rule in rules if rule.get("reason") != "FieldValueForbidden"
        )
        if fixed:
            page += f"\nFixed once the object is there: {', '.join(f'`{path[1:]}`' for path in fixed)}.\n"
    return page


def _rows(schema: Schema, above: str) -> Iterator[tuple[str, ...]]:
    needed = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        path = f"{above}{name}"
        yield (
            f"**`{path}`**" if name in needed else f"`{path}`",
            _type(field),
            _default(field),
            _limits(field),
            field.get("description", "").replace("|", "\\|"),
        )
        inner = field.get("items", field)
        yield from _rows(inner, f"{path}{'[]' if inner is not field else ''}.")


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return "any"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"object of {_type(field['additionalProperties'])}"
    return kind


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    value: Any = field["default"]
    return f"`{value if isinstance(value, str) else msgspec.json.encode(value).decode()}`"


def _limits(field: Schema) -> str:
    found = [text.format(field[key]) for key, text in _LIMITS if key in field]
    if "pattern" in field:
        found.append(f"`{field['pattern']}`".replace("|", "\\|"))
    return ", ".join(found)
