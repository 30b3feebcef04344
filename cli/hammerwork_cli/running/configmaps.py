"""The ConfigMaps of manifests: what batches find in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_cli.running.decoding import ManifestError, convert
from hammerwork_operator.sources import configmaps

if TYPE_CHECKING:
    from pathlib import Path

    from hammerwork_operator.sources.source import Contents


class _Metadata(msgspec.Struct):
    name: str
    namespace: str | None = None


class ConfigMaps:
    """Those in the files that were given."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
        self._used: set[tuple[str, str]] = set()

    def add(self, path: Path, document: dict[str, Any], where: str) -> None:
        """Take note of one; raises `ManifestError` that starts with `where` for one without a name."""
        metadata = convert(document.get("metadata") or {}, _Metadata, f"{where}: ConfigMap: metadata")
        self._found[metadata.namespace or "default", metadata.name] = path, document

    def contents(self, namespace: str, need: Contents) -> tuple[bytes, ...]:
        """Return the contents that a batch needs; raises `ManifestError` for one that is not there."""
        return tuple(self._content(namespace, need, position) for position in range(len(need.refs)))

    def unused(self) -> list[str]:
        """Return a sentence for each that no batch has asked for."""
        return [
            f"{path}: ConfigMap {name} is for a cluster: skipped"
            for (namespace, name), (path, _) in self._found.items()
            if (namespace, name) not in self._used
        ]

    def _content(self, namespace: str, need: Contents, position: int) -> bytes:
        ref, place = need.refs[position], configmaps.place(need.refs, position)
        if (found := self._found.get((namespace, ref.name))) is None:
            raise ManifestError(
                f"{place}: no such ConfigMap of namespace {namespace} in the files; give the file that has it, too"
            )
        self._used.add((namespace, ref.name))
        path, document = found
        try:
            content = configmaps.content_of(document, ref.key)
        except (ValueError, TypeError, AttributeError) as error:
            raise ManifestError(f"{place}: cannot be read from {path}: {error}") from None
        if content is None:
            raise ManifestError(f"{place}: the ConfigMap in {path} has no such key")
        return content
