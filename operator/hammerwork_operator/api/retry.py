"""The field `retry` of a JobBatch's spec."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hammerwork_operator.api.common import MAX_INT32

MAX_ERROR_TYPES = 64
MAX_INDEXES_LENGTH = 1_024

_RANGE = r"[0-9]{1,9}(-[0-9]{1,9})?"


class RetrySpec(Struct, frozen=True, rename="camel"):
    """Runs failed jobs again: once for each time that attempt is raised."""

    attempt: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_INT32,
            description="Raise it to run failed jobs of the batch again once it has finished; status.retryAttempt "
            "follows. Jobs that a failed FailFast batch cancelled run too. The number that the batch is created with "
            "asks for nothing. It may only grow.",
        ),
    ]
    error_types: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=253, description="Name of an exception's class.")]],
            Meta(
                max_length=MAX_ERROR_TYPES,
                description="Only jobs whose last attempt failed with one of these types, as status.errors has them. "
                "Default: all.",
                extra_json_schema={"x-kubernetes-list-type": "set"},
            ),
        ]
        | UnsetType
    ) = UNSET
    indexes: (
        Annotated[
            str,
            Meta(
                max_length=MAX_INDEXES_LENGTH,
                pattern=f"^{_RANGE}(,{_RANGE})*$",
                description="Only the jobs with these indexes, e.g. 5-9,77. Default: all.",
            ),
        ]
        | UnsetType
    ) = UNSET


CHANGE_RULES = [
    {
        "rule": "self.attempt >= oldSelf.attempt",
        "message": "attempt may only grow: each raise runs failed jobs again once",
        "fieldPath": ".attempt",
    },
]
"""Of a JobBatch that is there; a template may be changed to anything."""
RULES = [
    {
        "rule": "!has(self.indexes) || self.indexes.split(',').all(part, part.split('-').size() < 2 || "
        "int(part.split('-')[0]) <= int(part.split('-')[1]))",
        "message": "a range ends before it begins; write FROM-TO with the lower index first, e.g. 5-9,77",
        "fieldPath": ".indexes",
    },
]
"""Rules of the CRD, as x-kubernetes-validations."""
