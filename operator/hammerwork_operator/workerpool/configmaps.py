"""The ConfigMaps that a pool's template refers to, and what they hold. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hammerwork_operator.api.common import Manifest

_REFERENCES = frozenset({"configMap", "configMapRef", "configMapKeyRef"})
"""In a volume (also a projected one), in `envFrom`, and in a variable's `valueFrom`: what has a ConfigMap's name."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""What may be one. The names become parts of paths, and `../secrets/key` would lead to a Secret."""


def referenced_configmaps(template: Manifest) -> list[str]:
    """Return the names of the ConfigMaps in the template's volumes and variables, sorted. It may have any shape."""
    pod = template.get("spec")
    parts = [pod.get(key) for key in ("volumes", "initContainers", "containers")] if isinstance(pod, dict) else []
    return sorted({name for part in parts for name in _named(part)})


def configmap_checksum(found: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return a text that changes whenever what one of the ConfigMaps holds does, or whether it is there.

    Labels, annotations and a copy that is created anew do not count.
    """
    content = {
        name: None if each is None else [each.get("data") or {}, each.get("binaryData") or {}]
        for name, each in found.items()
    }
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:16]


def _named(node: object) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _named(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            name = value.get("name") if key in _REFERENCES and isinstance(value, dict) else None
            if isinstance(name, str) and _NAME.fullmatch(name):
                yield name
            yield from _named(value)
