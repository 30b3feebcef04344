"""A WorkerPool as it was last seen. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.errors import HandlerError
from hammerwork.handlers import only_kind
from hammerwork_operator.api.workerpool import KIND, HandlerSpec, WorkerPoolSpec
from hammerwork_operator.kube.decoding import is_deeper_than
from hammerwork_operator.kube.notes import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SPEC_LEVELS = 100
"""Pods are described in a dozen."""


class ObservedPool(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions about a WorkerPool are made from."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleted: bool
    spec: WorkerPoolSpec
    status: dict[str, Any]
    problem: str | None = None
    """What is wrong with the spec, if the operator cannot read it."""

    @property
    def deployment_name(self) -> str:
        """Name of the Deployment."""
        return f"{self.name}-worker"

    @property
    def subject(self) -> Subject:
        """The object, as events and writes name it."""
        return Subject(kind=KIND, namespace=self.namespace, name=self.name, uid=self.uid)

    def with_status(self, status: dict[str, Any], resource_version: str) -> ObservedPool:
        """Return the object as it is after its status was written."""
        return msgspec.structs.replace(self, status=status, resource_version=resource_version)


def observe(manifest: Mapping[str, Any]) -> ObservedPool:
    """Return what is to be known of the object."""
    metadata = manifest["metadata"]
    problem = None
    spec = WorkerPoolSpec(queue="", handler=HandlerSpec())
    try:
        if is_deeper_than(MAX_SPEC_LEVELS, manifest.get("spec")):
            raise msgspec.ValidationError(f"arrays and objects are nested more than {MAX_SPEC_LEVELS} levels deep")
        spec = msgspec.convert(manifest.get("spec"), WorkerPoolSpec)
    except msgspec.ValidationError as error:
        problem = f"spec: {error}"
    else:
        problem = _problem_of(spec.handler)
    return ObservedPool(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        deleted="deletionTimestamp" in metadata,
        spec=spec,
        status=dict(manifest.get("status") or {}),
        problem=problem,
    )


def _problem_of(handler: HandlerSpec) -> str | None:
    """Return what is wrong with a handler; the API server holds the same rule, but objects may be older than it."""
    try:
        only_kind(msgspec.to_builtins(handler))
    except HandlerError as error:
        return f"spec.handler: {error}"
    return None
