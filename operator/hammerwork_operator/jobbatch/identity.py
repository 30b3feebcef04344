"""Which batch in the database an object stands for: what of a spec defines the jobs, and the id that follows. Pure."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from hammerwork.ids import batch_id_for
from hammerwork_operator.api.jobbatch import KIND, MUTABLE_FIELDS, JobBatchSpec, RetryPolicySpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_DEFINING = MUTABLE_FIELDS | {"run_id", "database_secret_ref", "depends_on", "managed_by"}

_HALF = 8


class Identity(msgspec.Struct, frozen=True):
    """What makes two objects the same batch."""

    namespace: str
    name: str
    run_id: str
    fingerprint: str
    """Of the jobs, see `spec_fingerprint`."""
    cluster: str = ""
    """What tells the cluster from others on the same database; empty: not known."""

    @property
    def batch_id(self) -> UUID:
        """The batch's id. Only its second half depends on the cluster."""
        whole = batch_id_for(KIND, self.namespace, self.name, self.run_id, self.fingerprint, self.cluster)
        return UUID(bytes=self.former_batch_id.bytes[:_HALF] + whole.bytes[_HALF:])

    @property
    def former_batch_id(self) -> UUID:
        """The id that operators gave the batch before it told clusters apart."""
        return batch_id_for(KIND, self.namespace, self.name, self.run_id, self.fingerprint)

    def stated(self, status: Mapping[str, Any]) -> UUID | None:
        """Return the id that the status gives, if it is that of this batch in any cluster, or a former one.

        So what was loaded keeps its id when the cluster is called otherwise.
        """
        try:
            found = UUID(status.get("batchId", ""))
        except (TypeError, ValueError, AttributeError):
            return None
        return found if found.bytes[:_HALF] == self.former_batch_id.bytes[:_HALF] else None


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


def with_content(of_spec: str, content: str | None) -> str:
    """Return the fingerprint of the jobs from that of the spec and the digest of what it refers to, if it does."""
    return of_spec if content is None else hashlib.sha256(f"{of_spec}/{content}".encode()).hexdigest()


@functools.cache  # msgspec resolves the struct's annotations anew each time
def _names(fields: frozenset[str]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(JobBatchSpec) if field.name in fields)


@functools.cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
            found[field.encode_name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.encode_name] = msgspec.to_builtins(field.default_factory())
    return found
