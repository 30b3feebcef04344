"""The field `retry` of a JobBatch's spec."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hammerwork_operator.api.common import MAX_INT32
from hammerwork_operator.api.rules import said

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


_ONLY_GROW = "may only grow: each raise runs failed jobs again once"
_FROM_TO = "write FROM-TO with the lower index first, e.g. 5-9,77"
_ENDS_LATE = "part.split('-').size() < 2 || int(part.split('-')[0]) <= int(part.split('-')[1])"

CHANGE_RULES = [
    {
        "rule": "self.attempt >= oldSelf.attempt",
        "message": f"attempt {_ONLY_GROW}",
        "messageExpression": said(
            f"attempt %s is below %s, what it was, but it {_ONLY_GROW}",
            "string(self.attempt)",
            "string(oldSelf.attempt)",
        ),
        "fieldPath": ".attempt",
    },
]
"""Of a JobBatch that is there; a template may be changed to anything."""
RULES = [
    {
        "rule": f"!has(self.indexes) || self.indexes.split(',').all(part, {_ENDS_LATE})",
        "message": f"a range ends before it begins; {_FROM_TO}",
        "messageExpression": said(
            f"%s ends before it begins; {_FROM_TO}", f"self.indexes.split(',').filter(part, !({_ENDS_LATE}))[0]"
        ),
        "fieldPath": ".indexes",
    },
]
"""Rules of the CRD, as x-kubernetes-validations."""
