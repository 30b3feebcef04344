"""The WorkerPool resource. Field descriptions are what `kubectl explain workerpool.spec` shows."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from hammerwork.working.settings import MAX_PROCESSES
from hammerwork_operator.api.autoscaling import Autoscaling
from hammerwork_operator.api.common import CONDITION_LIST, Condition, DatabaseSecretRef
from hammerwork_operator.api.rules import check_exactly_one
from hammerwork_operator.api.sources import Queue

KIND = "WorkerPool"
PLURAL = "workerpools"

MAX_OBJECT_NAME_LENGTH = 56
"""The Deployment is called NAME-worker, and its name has to fit a label value of 63 characters."""


class PythonHandler(Struct, frozen=True, rename="camel"):
    """A Python function in the worker's image."""

    function: Annotated[
        str,
        Meta(
            min_length=3,
            max_length=512,
            pattern=r"^[^\s:]+:[A-Za-z_][A-Za-z0-9_.]*$",
            description="MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION, e.g. handlers:send_email. It is called with "
            "each job.",
        ),
    ]


Command = list[Annotated[str, Meta(max_length=16_384, description="The program, or one of its arguments.")]]


class ExecHandler(Struct, frozen=True, rename="camel"):
    """A command, one process for each job."""

    command: Annotated[
        Command,
        Meta(
            min_length=1,
            max_length=100,
            description="Program and arguments; no shell has a part in it. {{ payload.PATH }}, {{ payload }}, "
            "{{ index }} and {{ id }} are replaced in each of them. The payload is on standard input, as JSON.",
        ),
    ]
    fail_codes: Annotated[
        list[Annotated[int, Meta(ge=1, le=255, description="An exit code.")]],
        Meta(
            max_length=255,
            description="Exit codes by which the command fails its job for good; [100] if not given. Any other but 0 "
            "fails the attempt.",
        ),
    ] = field(default_factory=lambda: [100])


class StreamHandler(Struct, frozen=True, rename="camel"):
    """Processes that stay, a line for each job."""

    command: Annotated[
        Command,
        Meta(
            min_length=1,
            max_length=100,
            description="Program and arguments; no shell has a part in it. Each job is a line of JSON on standard "
            "input, each outcome a line of JSON on standard output.",
        ),
    ]
    processes: Annotated[
        int,
        Meta(ge=1, le=256, description="How many processes a worker runs; they share its concurrency evenly."),
    ] = 1


class HTTPHandler(Struct, frozen=True, rename="camel"):
    """A POST for each job, to a sidecar or a service."""

    url: Annotated[
        str,
        Meta(
            max_length=2048,
            pattern=r"^https?://[^\s{}/][^\s{}]*$",
            description="Where each job is posted, e.g. http://localhost:8080/jobs. The payload is the body, as JSON.",
        ),
    ]
    timeout_seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description="How long a job may take, the wait for a service that cannot be reached included.",
        ),
    ] = 600


class HandlerSpec(Struct, frozen=True, rename="camel"):
    """What runs a job. Exactly one kind is given."""

    python: Annotated[PythonHandler, Meta(description="A Python function in the worker's image.")] | UnsetType = UNSET
    exec: Annotated[ExecHandler, Meta(description="A command, one process for each job.")] | UnsetType = UNSET
    stream: Annotated[StreamHandler, Meta(description="Processes that stay, a line for each job.")] | UnsetType = UNSET
    http: Annotated[HTTPHandler, Meta(description="A POST for each job, to a sidecar or a service.")] | UnsetType = (
        UNSET
    )


_INT_OR_PERCENT: dict[str, Any] = {
    "x-kubernetes-int-or-string": True,
    "minimum": 0,
    "pattern": "^([0-9]|[1-9][0-9]|100)%$",
}


class PodDisruptionBudgetSpec(Struct, frozen=True, rename="camel"):
    """How many workers may be missing as nodes are drained."""

    max_unavailable: (
        Annotated[
            int | str,
            Meta(
                description="So many Pods, or percent of them, may be evicted at a time, e.g. 1 or 25%.",
                extra_json_schema=_INT_OR_PERCENT,
            ),
        ]
        | UnsetType
    ) = UNSET
    min_available: (
        Annotated[
            int | str,
            Meta(
                description="So many Pods, or percent of them, stay whatever is evicted. With as many as there are, no "
                "node with a worker can be drained.",
                extra_json_schema=_INT_OR_PERCENT,
            ),
        ]
        | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        """Refuse what the rule of the CRD refuses, also where there is no API server."""
        check_exactly_one({"maxUnavailable": self.max_unavailable, "minAvailable": self.min_available})


class WorkerPoolSpec(Struct, frozen=True, rename="camel"):
    """Workers for one queue."""

    queue: Annotated[Queue, Meta(description="Name of the queue whose jobs the workers run.")]
    handler: Annotated[HandlerSpec, Meta(description="What runs a job; exactly one kind has to be given.")]
    replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Number of worker Pods. The field of the scale subresource, which kubectl scale and a "
            "HorizontalPodAutoscaler write. Not regarded while autoscaling is set.",
        ),
    ] = 1
    autoscaling: (
        Annotated[Autoscaling, Meta(description="How many worker Pods there are to be, by the jobs of the queue.")]
        | UnsetType
    ) = UNSET
    processes: Annotated[
        int | str,
        Meta(
            description="Worker processes in a Pod, each of which runs up to concurrency jobs at a time and uses up to "
            "one core; auto: as many as the CPU limit of the container worker has a use for, 1 without a limit.",
            extra_json_schema={
                "x-kubernetes-int-or-string": True,
                "minimum": 1,
                "maximum": MAX_PROCESSES,
                "pattern": "^auto$",
            },
        ),
    ] = 1
    concurrency: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Jobs that a worker process runs at a time; a Pod has one, see processes."),
    ] = 10
    poll_interval_milliseconds: Annotated[
        int,
        Meta(
            ge=10, le=3_600_000, description="How often an idle worker polls for jobs that no notification announced."
        ),
    ] = 100
    batch_processing: Annotated[
        bool,
        Meta(description="Whether a worker takes up to batchSize jobs at a time; false: one job per claim."),
    ] = True
    shutdown_grace_period_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="How long a stopping worker lets its running jobs finish. Jobs that have not started are "
            "returned to the queue at once.",
        ),
    ] = 30
    database_secret_ref: Annotated[
        DatabaseSecretRef,
        Meta(description="The Secret that holds the database URL, in the namespace of the pool."),
    ] = field(default_factory=DatabaseSecretRef)
    pod_disruption_budget: (
        Annotated[
            PodDisruptionBudgetSpec,
            Meta(
                description="The PodDisruptionBudget of the pool, with either maxUnavailable or minAvailable: what "
                "drains and evictions leave alone."
            ),
        ]
        | UnsetType
    ) = UNSET
    restart_on_config_map_change: Annotated[
        bool,
        Meta(
            description="Whether the Pods are replaced when a ConfigMap changes that the volumes or variables of the "
            "template refer to."
        ),
    ] = False
    template: Annotated[
        dict[str, Any],
        Meta(
            description="A PodTemplateSpec that the worker Pods start from. The container named worker is "
            "completed by the "
            "operator (and added where it is missing); set its image, resources, volumeMounts or env here. "
            "With a handler other than python, the image may be any.",
            extra_json_schema={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the API server refuses, also where there is none."""
        number = self.processes
        if number != "auto" and not (isinstance(number, int) and 1 <= number <= MAX_PROCESSES):
            raise ValueError(f"processes is {number!r}, must be auto or 1 to {MAX_PROCESSES}")


class WorkerPoolStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The state of the workers."""

    observed_generation: Annotated[
        int,
        Meta(
            ge=-1,
            description="metadata.generation that the status was computed from; -1 until there is one.",
        ),
    ] = -1
    replicas: Annotated[int, Meta(ge=0, description="Worker Pods that exist.")] | UnsetType = UNSET
    ready_replicas: Annotated[int, Meta(ge=0, description="Worker Pods that are ready.")] | UnsetType = UNSET
    selector: Annotated[str, Meta(max_length=1024, description="Label selector of the worker Pods.")] | UnsetType = (
        UNSET
    )
    desired_replicas: (
        Annotated[
            int,
            Meta(ge=0, description="Worker Pods that there are to be: spec.replicas, or as spec.autoscaling has it."),
        ]
        | UnsetType
    ) = UNSET
    last_scale_time: (
        Annotated[
            str,
            Meta(description="When autoscaling changed the number last.", extra_json_schema={"format": "date-time"}),
        ]
        | UnsetType
    ) = UNSET
    queue_depth: (
        Annotated[
            int,
            Meta(ge=0, description="Jobs of the queue that wait for a worker. Left out while the database is away."),
        ]
        | UnsetType
    ) = UNSET
    oldest_job_age_seconds: (
        Annotated[
            int,
            Meta(ge=0, description="How long the oldest of these jobs has been waiting, to two digits (137 is 130)."),
        ]
        | UnsetType
    ) = UNSET
    jobs_processed: (
        Annotated[
            int,
            Meta(ge=0, description="Attempts that ended in the queue in the last hour, successful or not."),
        ]
        | UnsetType
    ) = UNSET
    success_rate: (
        Annotated[
            str, Meta(max_length=6, description="Share of these that were successful; left out if there were none.")
        ]
        | UnsetType
    ) = UNSET
    average_processing_time_ms: (
        Annotated[int, Meta(ge=0, description="Mean duration of these attempts; left out if there were none.")]
        | UnsetType
    ) = UNSET
    conditions: (
        Annotated[
            list[Condition],
            Meta(
                max_length=16,
                description="Ready, Reconciling, Stalled, as kstatus reads them; ScalingActive and ScalingLimited, as "
                "of a HorizontalPodAutoscaler.",
                extra_json_schema=CONDITION_LIST,
            ),
        ]
        | UnsetType
    ) = UNSET


class WorkerPoolObject(Struct, frozen=True, rename="camel"):
    """Worker Pods that run the jobs of one queue."""

    spec: Annotated[WorkerPoolSpec, Meta(description="The workers.")]
    status: Annotated[
        WorkerPoolStatus, Meta(description="What the operator has seen. Only the operator writes it.")
    ] = field(default_factory=WorkerPoolStatus)
