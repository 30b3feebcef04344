"""A JobBatch as it was last seen, without its jobs: small enough to keep for every object. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from hammerwork.batch import MAX_PAYLOAD_DEPTH
from hammerwork_operator import sources
from hammerwork_operator.api.common import MAX_OBJECT_BYTES
from hammerwork_operator.api.jobbatch import KIND, OWN_NAME, JobBatchSpec
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.jobbatch.identity import Identity, spec_fingerprint, with_content
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import moment, reckoned
from hammerwork_operator.kube.decoding import is_deeper_than
from hammerwork_operator.kube.notes import Subject
from hammerwork_operator.sources.source import Contents, Query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_SPEC_LEVELS = MAX_PAYLOAD_DEPTH + 3
"""A payload may be as deep as the library allows, and is itself within the spec, its source and a job."""


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What the status of an object says of its batch; nothing where it speaks of another batch, or of none yet."""

    enqueued: bool = False
    """The jobs were loaded."""
    finished: bool = False
    """The status has the end of the batch, and is final."""
    cancelled: Reason | None = None
    """Why the batch was cancelled: that stays so, whatever spec and clock say by now."""
    suspended: bool = False
    resumed_at: datetime | None = None
    """When it was last resumed after a suspension."""
    satisfied: tuple[str, ...] = ()
    """Dependencies that have been satisfied."""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    retry_attempt: int = 0


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
    cluster: str
    """What tells the cluster from others; empty: not known."""
    spec_fingerprint: str
    """Of the part of the spec that defines the jobs."""
    contents: Contents | None
    """What defines the jobs beside the spec: keys of ConfigMaps."""
    queries: bool
    """The jobs come from a query."""
    content: str | None
    """The digest of what is there, once it is known."""
    fingerprint: str
    """Of what defines the jobs."""
    batch_id: UUID
    """The batch's id in the database: the same name, jobs and runId have the same id, whatever the object's uid."""
    former_id: UUID | None
    """The id that an older operator may have given the batch; None: it is `batch_id`, or out of the question."""
    total_jobs: int | None
    """None: known only when they have been loaded."""
    small: bool
    """The jobs are sure to be few and small: their load is short."""
    status: dict[str, Any]
    """As the object has it, or as we wrote it last."""
    stated: Stated
    managed_elsewhere: bool = False
    """Another controller manages it: it is only looked at, by those that depend on it."""
    problem: str | None = None
    """What is wrong with the object, if the operator cannot use it."""
    problem_reason: Reason = Reason.INVALID_SPEC

    @property
    def has_finalizer(self) -> bool:
        """Whether our finalizer is on the object."""
        return FINALIZER in self.finalizers

    @property
    def awaits_content(self) -> bool:
        """Whether it is not known yet which batch it is."""
        return self.contents is not None and self.content is None

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

    def with_content(self, content: str | None) -> ObservedBatch:
        """Return the object with what was found in its ConfigMaps; None: that has to be found out again."""
        fingerprint = with_content(self.spec_fingerprint, content)
        identity = Identity(self.namespace, self.name, self.spec.run_id, fingerprint, self.cluster)
        batch_id = identity.stated(self.status) or identity.batch_id
        return msgspec.structs.replace(
            self,
            content=content,
            fingerprint=fingerprint,
            batch_id=batch_id,
            former_id=None,
            stated=read_status(self.status, batch_id),
        )

    def with_status(self, status: dict[str, Any], resource_version: str) -> ObservedBatch:
        """Return the object as it is after its status was written."""
        stated = read_status(status, self.batch_id)
        return msgspec.structs.replace(self, status=status, stated=stated, resource_version=resource_version)

    def as_former(self) -> ObservedBatch:
        """Return the object as one whose batch has the id that an older operator gave it."""
        if self.former_id is None:
            return self
        stated = read_status(self.status, self.former_id)
        return msgspec.structs.replace(self, batch_id=self.former_id, former_id=None, stated=stated)

    def with_finalizers(self, finalizers: tuple[str, ...], resource_version: str) -> ObservedBatch:
        """Return the object as it is after its finalizers were written."""
        return msgspec.structs.replace(self, finalizers=finalizers, resource_version=resource_version)


def observe(manifest: Mapping[str, Any], *, fingerprint: str | None = None, cluster: str = "") -> ObservedBatch:
    """Return what is to be known of an object of the cluster; `fingerprint` is the spec's, if it is unchanged."""
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
    need, content = None, None
    try:
        need = sources.raw_need(raw)
    except msgspec.ValidationError as error:
        problem = problem or f"spec: {error}"
    if FINALIZER not in (metadata.get("finalizers") or ()) and (size := _size(manifest)) > MAX_OBJECT_BYTES:
        problem, reason = _too_large(size), Reason.TOO_LARGE
    status = dict(manifest.get("status") or {})
    contents = need if isinstance(need, Contents) else None
    if contents is not None:
        content = status.get("contentDigest")
    of_spec = fingerprint or spec_fingerprint(raw)
    fingerprint = with_content(of_spec, content)
    identity = Identity(metadata["namespace"], metadata["name"], spec.run_id, fingerprint, cluster)
    batch_id = identity.stated(status) or identity.batch_id
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
        cluster=cluster,
        spec_fingerprint=of_spec,
        contents=contents,
        queries=isinstance(need, Query),
        content=content,
        fingerprint=fingerprint,
        batch_id=batch_id,
        former_id=None if contents is not None or batch_id == identity.former_batch_id else identity.former_batch_id,
        total_jobs=sources.count(raw),
        small=sources.is_small(raw),
        status=status,
        stated=read_status(status, batch_id),
        managed_elsewhere=(manifest.get("spec") or {}).get("managedBy", OWN_NAME) != OWN_NAME,
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
    stated, completed_at = status.get("conditions"), reckoned(status.get("completionTime"))
    ended = conditions.holds(stated, Type.COMPLETE) or conditions.holds(stated, Type.FAILED)
    return Stated(
        enqueued=conditions.holds(stated, Type.ENQUEUED),
        finished=ended and completed_at is not None,
        cancelled=_why_cancelled(stated),
        suspended=conditions.holds(stated, Type.SUSPENDED),
        resumed_at=_resumed_at(stated),
        satisfied=tuple(status.get("satisfiedDependencies") or ()),
        started_at=reckoned(status.get("startTime")),
        completed_at=completed_at,
        retry_attempt=status.get("retryAttempt", 0),
    )


def _resumed_at(stated: Sequence[Mapping[str, Any]] | None) -> datetime | None:
    entry = conditions.find(stated, Type.SUSPENDED)
    return reckoned(entry["lastTransitionTime"]) if entry is not None and entry["status"] == "False" else None


def _why_cancelled(stated: Sequence[Mapping[str, Any]] | None) -> Reason | None:
    entry = conditions.find(stated, Type.FAILED) or {}
    told = [reason for reason in (Reason.DEADLINE_EXCEEDED, Reason.CANCELLED) if reason == entry.get("reason")]
    return told[0] if told and entry.get("status") == "True" else None
