"""What the kinds have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

GROUP = "hammerwork.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Manifest = dict[str, Any]
"""An object of Kubernetes, as JSON has it."""

MAX_INT32 = 2**31 - 1

MAX_STORED_BYTES = 1_572_864
"""What etcd takes of one object at most, as it is set up by default: 1.5 MiB."""
MAX_OBJECT_BYTES = MAX_STORED_BYTES - 131_072
"""Of an object that is to run: the rest is room for a finalizer and for the longest status, in the longest spelling."""

DEFAULT_SECRET_NAME = "hammerwork-database"  # noqa: S105 (the name of an object, not a secret)
DEFAULT_SECRET_KEY = "url"  # noqa: S105


class DatabaseSecretRef(Struct, frozen=True, rename="camel"):
    """The key of a Secret, in the namespace of the object, that holds the database URL."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="Name of the Secret.",
        ),
    ] = DEFAULT_SECRET_NAME
    key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="Key in the Secret whose value is the URL, e.g. postgresql://user:password@host/database.",
        ),
    ] = DEFAULT_SECRET_KEY


CONDITION_LIST = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
"""What the schema says of a list of conditions: there is one of each type."""


class Condition(Struct, frozen=True, rename="camel"):
    """One aspect of the state of an object."""

    type: Annotated[str, Meta(max_length=316, description="Name of the condition, e.g. Ready.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether the condition holds.")]
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="One word, for programs, that gives the cause.",
        ),
    ]
    message: Annotated[str, Meta(max_length=32768, description="A sentence for people.")]
    last_transition_time: Annotated[
        str,
        Meta(description="When the status changed last.", extra_json_schema={"format": "date-time"}),
    ]
    observed_generation: Annotated[
        int, Meta(ge=0, description="metadata.generation that the condition was computed from.")
    ] = 0
