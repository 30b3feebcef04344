"""A JobBatch as it was last seen, without its jobs: small enough to keep for every object."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.ids import batch_id_for
from hammerwork_operator import sources
from hammerwork_operator.api.jobbatch import MUTABLE_FIELDS, JobBatchSpec, RetryPolicySpec
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.kube.conditions import moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_NOT_DEFINING = MUTABLE_FIELDS | {"run_id", "database_secret_ref"}


class ObservedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions about a JobBatch are made from."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    finalizers: tuple[str, ...]
    deleted_at: datetime | None
    spec: JobBatchSpec
    """Without its source of jobs, which may be large; loading reads it from the API server."""
    digest: str
    total_jobs: int
    status: dict[str, Any]
    """As the object has it, or as we wrote it last."""
    problem: str | None = None
    """What is wrong with the spec, if the operator cannot read it."""

    @property
    def batch_id(self) -> UUID:
        """The batch's id in the database: the same name, jobs and runId have the same id, whatever the object's uid."""
        return batch_id_for("JobBatch", self.namespace, self.name, self.spec.run_id, self.digest)

    @property
    def has_finalizer(self) -> bool:
        """Whether our finalizer is on the object."""
        return FINALIZER in self.finalizers


def observe(manifest: Mapping[str, Any], *, digest: str | None = None) -> ObservedBatch:
    """Return what is to be known of the object; `digest` saves the work where the spec is known to be unchanged."""
    metadata = manifest["metadata"]
    raw = manifest.get("spec") or {}
    problem = None
    try:
        spec = msgspec.convert({key: value for key, value in raw.items() if key not in sources.FIELDS}, JobBatchSpec)
    except msgspec.ValidationError as error:
        spec, problem = JobBatchSpec(queue=""), f"spec: {error}"
    deleted_at = metadata.get("deletionTimestamp")
    return ObservedBatch(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleted_at=moment(deleted_at) if deleted_at else None,
        spec=spec,
        digest=digest or spec_digest(raw),
        total_jobs=sources.count(raw),
        status=dict(manifest.get("status") or {}),
        problem=problem,
    )


def spec_digest(raw: Mapping[str, Any]) -> str:
    """Return the hash of the part of a spec that defines the jobs.

    Fields that have their default are left out, so that a field that a later version adds does not change the hash of
    the batches that are there.
    """
    defining = {
        key: value
        for key, value in raw.items()
        if key not in _names(_NOT_DEFINING) and value != _defaults(JobBatchSpec).get(key)
    }
    if isinstance(policy := defining.get("retryPolicy"), dict):
        defaults = _defaults(RetryPolicySpec)
        defining["retryPolicy"] = {key: value for key, value in policy.items() if value != defaults.get(key)}
    return hashlib.sha256(msgspec.json.encode(defining, order="deterministic")).hexdigest()


def _names(fields: frozenset[str]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(JobBatchSpec) if field.name in fields)


def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
            found[field.encode_name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.encode_name] = msgspec.to_builtins(field.default_factory())
    return found
