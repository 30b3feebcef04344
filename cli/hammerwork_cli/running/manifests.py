"""Reads JobBatch and WorkerPool manifests from files, as `kubectl apply` would, and checks them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.errors import HandlerError
from hammerwork.handlers import only_kind
from hammerwork_cli.running.configmaps import ConfigMaps
from hammerwork_cli.running.decoding import ManifestError, decode, shown
from hammerwork_cli.running.documents import read_documents
from hammerwork_cli.running.lists import objects
from hammerwork_cli.running.order import check_order
from hammerwork_cli.running.templates import variables
from hammerwork_operator import sources
from hammerwork_operator.api import common, jobbatch, jobbatchschedule, workerpool
from hammerwork_operator.api.jobbatch import JobBatchSpec
from hammerwork_operator.api.workerpool import WorkerPoolSpec
from hammerwork_operator.sources.source import Contents, InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SUFFIXES = frozenset({".yaml", ".yml"})

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAME_LIMITS = {jobbatch.KIND: jobbatch.MAX_OBJECT_NAME_LENGTH, workerpool.KIND: workerpool.MAX_OBJECT_NAME_LENGTH}


class BatchManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A JobBatch in a file."""

    path: Path
    namespace: str
    name: str
    spec: JobBatchSpec
    contents: tuple[bytes, ...] = ()
    """What its source needs of ConfigMaps."""

    @property
    def label(self) -> str:
        """What messages about it start with."""
        return f"{self.path}: {jobbatch.KIND} {self.namespace}/{self.name}"


class PoolManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A WorkerPool in a file."""

    path: Path
    namespace: str
    name: str
    spec: WorkerPoolSpec

    @property
    def label(self) -> str:
        """What messages about it start with."""
        return f"{self.path}: {workerpool.KIND} {self.namespace}/{self.name}"

    def environment(self) -> dict[str, str]:
        """Return the variables that the template gives the container `worker` by value."""
        return variables(self.spec.template)


class Manifests(msgspec.Struct, kw_only=True):
    """Everything that was found, in the order of the files."""

    batches: list[BatchManifest] = msgspec.field(default_factory=list)
    pools: list[PoolManifest] = msgspec.field(default_factory=list)
    configmaps: ConfigMaps = msgspec.field(default_factory=ConfigMaps)
    skipped: list[str] = msgspec.field(default_factory=list)
    """A sentence for each object that only a cluster can use."""


def read_manifests(paths: Iterable[Path]) -> Manifests:
    """Return what the files hold; of a folder, its own *.yaml and *.yml files are read.

    Raises:
        ManifestError: A file cannot be read, or an object in it is wrong; says which file, object and field.
    """
    found = Manifests()
    for path in _files(paths):
        for where, document in _objects(path):
            _add(found, path, f"{path}: {where}", document)
    _check_names_are_unique(found)
    found.batches = [_with_contents(batch, found.configmaps) for batch in found.batches]
    found.skipped += found.configmaps.unused()
    return found


def check_runnable(manifests: Manifests) -> None:
    """Raise `ManifestError` for what would wait for ever: no batch or worker, a suspended batch, a cycle of batches."""
    if not manifests.batches:
        raise ManifestError("no JobBatch in the files that were given: there is nothing to run")
    queues = sorted({pool.spec.queue for pool in manifests.pools})
    for batch in manifests.batches:
        if batch.spec.queue not in queues:
            others = f"those that are there work on {', '.join(queues)}" if queues else "there is no WorkerPool at all"
            raise ManifestError(
                f"{batch.label}: spec.queue: {batch.spec.queue!r}, no WorkerPool in the files works on this queue "
                f"({others}), so its jobs would never run; add a WorkerPool for it"
            )
        if batch.spec.suspend:
            raise ManifestError(f"{batch.label}: spec.suspend: true, so its jobs would never run; leave it out")
    check_order(manifests.batches)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
            if not files:
                raise ManifestError(f"{path}: no *.yaml or *.yml file in this folder (folders in it are not read)")
            yield from files
        elif path.exists():
            yield path
        else:
            raise ManifestError(f"{path}: no such file or folder")


def _objects(path: Path) -> list[tuple[str, Any]]:
    try:
        return list(objects(read_documents(path.read_bytes())))
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None


def _add(found: Manifests, path: Path, where: str, document: object) -> None:
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: {str(document)[:60]!r}, must be a mapping with apiVersion, kind and metadata")
    kind, version = str(document.get("kind", "")), str(document.get("apiVersion", ""))
    for field, value in (("kind", kind), ("apiVersion", version)):
        if not value:
            raise ManifestError(f"{where}: {field}: missing")
    if (kind, version) == ("ConfigMap", "v1"):
        found.configmaps.add(path, document, where)
        return
    if (why := _only_for_a_cluster(kind, version)) is not None:
        found.skipped.append(f"{path}: {kind} {_name_of(document)} {why}")
        return
    if version != common.API_VERSION:
        raise ManifestError(f"{where}: apiVersion: {version!r}, must be {common.API_VERSION}")
    if kind not in _NAME_LIMITS:
        raise ManifestError(f"{where}: kind: {kind!r}, must be {' or '.join(_NAME_LIMITS)}")
    namespace, name = _identity(where, kind, document)
    label = f"{path}: {kind} {namespace}/{name}"
    try:
        if kind == jobbatch.KIND:
            batch = decode(document.get("spec"), JobBatchSpec, "spec")
            _check_source(batch)
            found.batches.append(BatchManifest(path=path, namespace=namespace, name=name, spec=batch))
        else:
            pool = decode(document.get("spec"), WorkerPoolSpec, "spec")
            _check_handler(pool)
            variables(pool.template)
            found.pools.append(PoolManifest(path=path, namespace=namespace, name=name, spec=pool))
    except ManifestError as error:
        raise ManifestError(f"{label}: {error}") from None


def _only_for_a_cluster(kind: str, version: str) -> str | None:
    if version.partition("/")[0] != common.GROUP:
        return "is for a cluster: skipped"
    if (kind, version) == (jobbatchschedule.KIND, common.API_VERSION):
        return (
            "makes batches at times, which only the operator does: skipped; to try one, run its template as a JobBatch"
        )
    return None


def _name_of(document: dict[Any, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "(no name)")) if isinstance(metadata, dict) else "(no name)"


def _identity(where: str, kind: str, document: dict[Any, Any]) -> tuple[str, str]:
    metadata = document.get("metadata")
    name, limit = metadata.get("name") if isinstance(metadata, dict) else None, _NAME_LIMITS[kind]
    if not isinstance(metadata, dict) or name is None:
        raise ManifestError(f"{where}: {kind}: metadata.name: missing")
    if not isinstance(name, str) or not _OBJECT_NAME.fullmatch(name) or len(name) > limit:
        raise ManifestError(
            f"{where}: {kind}: metadata.name: {shown(name)}, must be 1 to {limit} small letters, digits, '-' or '.', "
            "with a letter or digit at both ends"
        )
    return str(metadata.get("namespace") or "default"), name


def _check_source(spec: JobBatchSpec) -> None:
    try:
        sources.source_of(spec)
    except InvalidSourceError as error:
        raise ManifestError(str(error)) from None


def _with_contents(batch: BatchManifest, configmaps: ConfigMaps) -> BatchManifest:
    need = sources.need(batch.spec)
    if not isinstance(need, Contents):
        return batch
    try:
        return msgspec.structs.replace(batch, contents=configmaps.contents(batch.namespace, need))
    except ManifestError as error:
        raise ManifestError(f"{batch.label}: {error}") from None


def _check_handler(spec: WorkerPoolSpec) -> None:
    try:
        only_kind(msgspec.to_builtins(spec.handler))
    except HandlerError as error:
        raise ManifestError(f"spec.handler: {error}") from None


def _check_names_are_unique(found: Manifests) -> None:
    seen: dict[tuple[str, str, str], Path] = {}
    objects: list[BatchManifest | PoolManifest] = [*found.batches, *found.pools]
    for manifest in objects:
        key = (type(manifest).__name__, manifest.namespace, manifest.name)
        if key in seen:
            raise ManifestError(f"{manifest.label}: is in {seen[key]} already; give one of them another name")
        seen[key] = manifest.path
