"""What the sources of a JobBatch's jobs hold: a struct for each field of spec that says which jobs there are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from hammerwork.batch import MAX_JOBS_IN_MEMORY, QUEUE_PATTERN

MAX_GENERATED_JOBS = 100_000_000
MAX_ITEMS = MAX_JOBS_IN_MEMORY
MAX_MATRIX_FIELDS = 16
MAX_CONFIG_MAP_REFS = 100
MAX_SQL_LENGTH = 65_536
MAX_QUERY_SECONDS = 86_400
DEFAULT_QUERY_SECONDS = 600
GENERATE_WAYS = ("count", "items", "matrix")
"""Exactly one of these is given. The CRD's rules cannot say so: they do not see lists and mappings of any values."""

KEY_PATTERN = r"^[-._a-zA-Z0-9]*\.(ndjson|jsonl|json|csv)(\.gz)?$"

PriorityLabel = Literal["Background", "Low", "Normal", "High", "Critical"]

Queue = Annotated[str, Meta(min_length=1, max_length=63, pattern=QUEUE_PATTERN)]

_ANY_JSON = {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}


class JobSpec(Struct, frozen=True, rename="camel"):
    """One job."""

    payload: Annotated[
        Any,
        Meta(description="What the handler gets: any JSON value.", extra_json_schema=_ANY_JSON),
    ]
    priority: (
        Annotated[PriorityLabel, Meta(description="Higher runs first; spec.priority where it is not given.")]
        | UnsetType
    ) = UNSET
    queue: Annotated[Queue, Meta(description="Optional; must be the same as spec.queue.")] | UnsetType = UNSET


class GenerateSpec(Struct, frozen=True, rename="camel"):
    """Jobs that are made from a template: so many, one for each item, or one for each combination of values."""

    payload: Annotated[
        Any,
        Meta(
            description="What the handler gets: any JSON value. In every string of it {{ index }} is replaced by the "
            "job's index, from 0; with items also {{ item }} and {{ item.PATH }}, with matrix also {{ matrix.NAME }}. "
            "A string that is just a placeholder becomes the value with its type. {{ {{ }} is a literal {{.",
            extra_json_schema=_ANY_JSON,
        ),
    ]
    count: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_GENERATED_JOBS,
                description="How many jobs. Exactly one of count, items and matrix has to be given.",
            ),
        ]
        | UnsetType
    ) = UNSET
    items: (
        Annotated[
            list[Annotated[Any, Meta(description="What {{ item }} is.", extra_json_schema=_ANY_JSON)]],
            Meta(
                min_length=1,
                max_length=MAX_ITEMS,
                description="A job for each item, in order; an item is any JSON value.",
                extra_json_schema={"x-kubernetes-list-type": "atomic"},
            ),
        ]
        | UnsetType
    ) = UNSET
    matrix: (
        Annotated[
            dict[
                str,
                Annotated[
                    Any,
                    Meta(
                        extra_json_schema={
                            "x-kubernetes-preserve-unknown-fields": True,
                            "minItems": 1,
                            "maxItems": MAX_ITEMS,
                        }
                    ),
                ],
            ],
            Meta(
                min_length=1,
                max_length=MAX_MATRIX_FIELDS,
                description="A job for each combination of values. For each name a list of values (any JSON), or "
                "a range {from, to} of days, such as 2026-01-31, or of whole numbers, both ends included. The names "
                "are taken in alphabetical order; the last one changes fastest. "
                f"At most {MAX_GENERATED_JOBS:,} combinations.",
            ),
        ]
        | UnsetType
    ) = UNSET


class ConfigMapRef(Struct, frozen=True, rename="camel"):
    """The key of a ConfigMap, in the namespace of the object, that holds jobs."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="Name of the ConfigMap.",
        ),
    ]
    key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=KEY_PATTERN,
            description="Key in the ConfigMap. Its end tells what is there: .ndjson or .jsonl a JSON value in each "
            "line, .json an array of JSON values, .csv a header and rows; with .gz behind it, packed by gzip.",
        ),
    ]


class QuerySpec(Struct, frozen=True, rename="camel"):
    """A query on the database that the queue is in; each row is a job."""

    sql: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_SQL_LENGTH,
            description="One statement that returns rows, such as SELECT. The payload of a job is an object, from "
            "column to value. It is made in a read-only transaction, with the rights of the user of the database URL.",
        ),
    ]
    timeout_seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_QUERY_SECONDS,
                description="How long the query may take, in seconds, until its last row is stored. "
                f"Default: {DEFAULT_QUERY_SECONDS}.",
            ),
        ]
        | UnsetType
    ) = UNSET


_EXACTLY_ONE = "Exactly one of jobs, generate, configMapRefs and query has to be given."

Jobs = Annotated[
    list[JobSpec],
    Meta(
        min_length=1,
        max_length=MAX_JOBS_IN_MEMORY,
        description=f"The jobs, at most {MAX_JOBS_IN_MEMORY:,}. {_EXACTLY_ONE}",
        extra_json_schema={"x-kubernetes-list-type": "atomic"},
    ),
]

Generate = Annotated[
    GenerateSpec,
    Meta(
        description=f"Makes jobs from a template. {_EXACTLY_ONE}",
        extra_json_schema={"oneOf": [{"required": [way]} for way in GENERATE_WAYS]},
    ),
]

ConfigMapRefs = Annotated[
    list[ConfigMapRef],
    Meta(
        min_length=1,
        max_length=MAX_CONFIG_MAP_REFS,
        description="ConfigMaps that hold the jobs, in order. They are read when the jobs are loaded; their "
        f"content is part of what defines the jobs. {_EXACTLY_ONE}",
        extra_json_schema={"x-kubernetes-list-type": "atomic"},
    ),
]

Query = Annotated[
    QuerySpec,
    Meta(description="Makes a job of each row of a query. Only where the operator allows it. " + _EXACTLY_ONE),
]
