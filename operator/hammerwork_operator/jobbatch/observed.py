"""A JobBatch as it was last seen, without its jobs: small enough to keep for every object. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from hammerwork.batch import MAX_PAYLOAD_DEPTH
from hammerwork.ids import batch_id_for
from hammerwork_operator import sources
from hammerwork_operator.api.common import MAX_OBJECT_BYTES
from hammerwork_operator.api.jobbatch import KIND, MUTABLE_FIELDS, JobBatchSpec, RetryPolicySpec
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import moment
from hammerwork_operator.kube.decoding import is_deeper_than
from hammerwork_operator.kube.notes import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_SPEC_LEVELS = MAX_PAYLOAD_DEPTH + 3
"""A payload may be as deep as the library allows, and is itself within the spec, its source and a job."""
_FIRST_YEAR, _LAST_YEAR = 2000, 3000

_NOT_DEFINING = MUTABLE_FIELDS | {"run_id", "database_secret_ref", "depends_on"}


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What the status of an object says of its batch; nothing where it speaks of another batch, or of none yet."""

    enqueued: bool = False
    """The jobs were loaded."""
    finished: bool = False
    """The status has the end of the batch, and is final."""
    suspended: bool = False
    resumed_at: datetime | None = None
    """When it was last resumed after a suspension."""
    satisfied: tuple[str, ...] = ()
    """Dependencies that have been satisfied."""
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ObservedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions about a JobBatch are made from."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    finalizers: tuple[str, ...]
    created_at: datetime | None
    deleted_at: datetime | None
    spec: JobBatchSpec
    """Without its source of jobs, which may be large; loading reads it from the API server."""
    fingerprint: str
    batch_id: UUID
    """The batch's id in the database: the same name, jobs and runId have the same id, whatever the object's uid."""
    total_jobs: int
    status: dict[str, Any]
    """As the object has it, or as we wrote it last."""
    stated: Stated
    problem: str | None = None
    """What is wrong with the object, if the operator cannot use it."""
    problem_reason: Reason = Reason.INVALID_SPEC

    @property
    def has_finalizer(self) -> bool:
        """Whether our finalizer is on the object."""
        return FINALIZER in self.finalizers

    @property
    def subject(self) -> Subject:
        """The object, as events and writes name it."""
        return Subject(kind=KIND, namespace=self.namespace, name=self.name, uid=self.uid)

    @property
    def time_to_live_ends(self) -> datetime | None:
        """When the finished object is to be deleted; None if it is to be kept.

        An object that was created after the end of its batch shows the result for as long as the first one did.
        """
        if self.spec.ttl_seconds_after_finished is UNSET or self.stated.completed_at is None:
            return None
        shown = max(self.stated.completed_at, self.created_at or self.stated.completed_at)
        return shown + timedelta(seconds=self.spec.ttl_seconds_after_finished)

    def with_status(self, status: dict[str, Any], resource_version: str) -> ObservedBatch:
        """Return the object as it is after its status was written."""
        stated = read_status(status, self.batch_id)
        return msgspec.structs.replace(self, status=status, stated=stated, resource_version=resource_version)

    def with_finalizers(self, finalizers: tuple[str, ...], resource_version: str) -> ObservedBatch:
        """Return the object as it is after its finalizers were written."""
        return msgspec.structs.replace(self, finalizers=finalizers, resource_version=resource_version)


def observe(manifest: Mapping[str, Any], *, fingerprint: str | None = None) -> ObservedBatch:
    """Return what is to be known of the object; `fingerprint` saves the work where the spec has not changed."""
    metadata = manifest["metadata"]
    raw = manifest.get("spec") or {}
    spec, problem = JobBatchSpec(queue=""), None
    try:
        if is_deeper_than(MAX_SPEC_LEVELS, raw):
            raw = {}
            raise msgspec.ValidationError(f"arrays and objects are nested more than {MAX_SPEC_LEVELS} levels deep")
        spec = msgspec.convert({key: value for key, value in raw.items() if key not in sources.FIELDS}, JobBatchSpec)
    except msgspec.ValidationError as error:
        problem = f"spec: {error}"
    reason = Reason.INVALID_SPEC
    if FINALIZER not in (metadata.get("finalizers") or ()) and (size := _size(manifest)) > MAX_OBJECT_BYTES:
        problem, reason = _too_large(size), Reason.TOO_LARGE
    fingerprint = fingerprint or spec_fingerprint(raw)
    batch_id = batch_id_for(KIND, metadata["namespace"], metadata["name"], spec.run_id, fingerprint)
    status = dict(manifest.get("status") or {})
    created_at, deleted_at = metadata.get("creationTimestamp"), metadata.get("deletionTimestamp")
    return ObservedBatch(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        finalizers=tuple(metadata.get("finalizers") or ()),
        created_at=moment(created_at) if created_at else None,
        deleted_at=moment(deleted_at) if deleted_at else None,
        spec=spec,
        fingerprint=fingerprint,
        batch_id=batch_id,
        total_jobs=sources.count(raw),
        status=status,
        stated=read_status(status, batch_id),
        problem=problem,
        problem_reason=reason,
    )


def _size(manifest: Mapping[str, Any]) -> int:
    """Return the bytes of the object as JSON, which is how etcd stores it."""
    return len(msgspec.json.encode(manifest))


def _too_large(size: int) -> str:
    return (
        f"the object has {size:,} bytes, the limit is {MAX_OBJECT_BYTES:,}, since its status needs room too; "
        "make several JobBatches of it, or store the data elsewhere and pass its address"
    )


def read_status(status: Mapping[str, Any], batch_id: UUID) -> Stated:
    """Return what the status says of this very batch."""
    if status.get("batchId") != str(batch_id):
        return Stated()
    stated, completed_at = status.get("conditions"), _moment(status, "completionTime")
    ended = conditions.holds(stated, Type.COMPLETE) or conditions.holds(stated, Type.FAILED)
    return Stated(
        enqueued=conditions.holds(stated, Type.ENQUEUED),
        finished=ended and completed_at is not None,
        suspended=conditions.holds(stated, Type.SUSPENDED),
        resumed_at=_resumed_at(stated),
        satisfied=tuple(status.get("satisfiedDependencies") or ()),
        started_at=_moment(status, "startTime"),
        completed_at=completed_at,
    )


def _resumed_at(stated: Sequence[Mapping[str, Any]] | None) -> datetime | None:
    entry = conditions.find(stated, Type.SUSPENDED)
    return _reckoned(entry["lastTransitionTime"]) if entry is not None and entry["status"] == "False" else None


def _moment(status: Mapping[str, Any], field: str) -> datetime | None:
    return _reckoned(status[field]) if status.get(field) else None


def _reckoned(text: str) -> datetime | None:
    """Return a moment that can be reckoned with; the API server takes others too, such as of the years 0 and 9999."""
    try:
        found = moment(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None and _FIRST_YEAR <= found.year <= _LAST_YEAR else None


def spec_fingerprint(raw: Mapping[str, Any]) -> str:
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
