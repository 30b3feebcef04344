"""The JobBatch resource. Field descriptions are what `kubectl explain jobbatch.spec` shows."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from hammerwork.batch import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_ATTEMPTS,
    MAX_ATTEMPTS,
    MAX_BATCH_SIZE,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_KEY_LENGTH,
    MAX_METADATA_VALUE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_TIMEOUT_SECONDS,
    PartialFailureMode,
    RetryStrategy,
)
from hammerwork_operator.api.common import CONDITION_LIST, GROUP, MAX_INT32, Condition, DatabaseSecretRef
from hammerwork_operator.api.dependencies import MAX_DEPENDENCIES, DependencySpec
from hammerwork_operator.api.retry import RetrySpec
from hammerwork_operator.api.sources import ConfigMapRefs, Generate, Jobs, PriorityLabel, Query, Queue

KIND = "JobBatch"
PLURAL = "jobbatches"

OWN_NAME = f"{GROUP}/operator"
"""What spec.managedBy has for the operator itself."""

MAX_ERROR_GROUPS = 10
MAX_ERROR_MESSAGE_LENGTH = 1_024
MAX_RETRY_SECONDS = 86_400
MAX_NAMESPACE_LENGTH = 63
MAX_OBJECT_NAME_LENGTH = MAX_NAME_LENGTH - MAX_NAMESPACE_LENGTH - 1
"""In the database a batch is called NAMESPACE/NAME."""

MUTABLE_FIELDS = frozenset(
    {"suspend", "active_deadline_seconds", "ttl_seconds_after_finished", "deletion_policy", "retry"}
)
"""Everything else of the spec is fixed when the object is created."""


class DeletionPolicy(enum.Enum):
    """What deleting the object does to the rows in the database."""

    DELETE = "Delete"
    CANCEL = "Cancel"
    ORPHAN = "Orphan"


class RetryPolicySpec(Struct, frozen=True, rename="camel"):
    """The pause before a failed job runs again."""

    strategy: Annotated[
        RetryStrategy,
        Meta(
            description="How the pause grows with the attempts made: Fixed (always initialSeconds), Linear "
            "(initialSeconds "
            "times the attempts) or Exponential (it doubles)."
        ),
    ] = RetryStrategy.EXPONENTIAL
    initial_seconds: Annotated[
        int, Meta(ge=0, le=MAX_RETRY_SECONDS, description="Pause before the second attempt, in seconds.")
    ] = 1
    max_seconds: Annotated[
        int, Meta(ge=0, le=MAX_RETRY_SECONDS, description="Longest pause, in seconds; not below initialSeconds.")
    ] = 300

    def __post_init__(self) -> None:
        """Refuse what the rule of the CRD refuses, also where there is no API server."""
        if self.initial_seconds > self.max_seconds:
            raise ValueError(INITIAL_ABOVE_MAX % (self.initial_seconds, self.max_seconds))


INITIAL_ABOVE_MAX = "initialSeconds is %s, must not be above maxSeconds, which is %s (default: 300)"


class JobBatchSpec(Struct, frozen=True, rename="camel"):
    """The jobs of a batch and how to run them. The fields that define the jobs cannot be changed after creation."""

    queue: Annotated[Queue, Meta(description="Name of the queue; the workers of this queue run the jobs.")]
    batch_size: Annotated[
        int, Meta(ge=1, le=MAX_BATCH_SIZE, description="How many jobs a worker takes at most at a time.")
    ] = DEFAULT_BATCH_SIZE
    partial_failure_mode: Annotated[
        PartialFailureMode,
        Meta(
            description="What the failure of a job means for the others. ContinueOnError: they continue. FailFast: "
            "jobs that have not started are cancelled and the batch fails. CollectErrors: they continue, and the error "
            "of every attempt is kept."
        ),
    ] = PartialFailureMode.CONTINUE_ON_ERROR
    priority: Annotated[PriorityLabel, Meta(description="Priority of jobs that do not set their own.")] = "Normal"
    backoff_limit: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=MAX_ATTEMPTS - 1,
                description="How often a failing job is retried; 0 means one attempt. "
                f"Default: {DEFAULT_MAX_ATTEMPTS - 1}, or 0 with FailFast.",
            ),
        ]
        | UnsetType
    ) = UNSET
    retry_policy: (
        Annotated[
            RetryPolicySpec,
            Meta(
                description="The pause before a failed job runs again. Default: 1 second, doubling up to 300 seconds."
            ),
        ]
        | UnsetType
    ) = UNSET
    job_timeout_seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=int(MAX_TIMEOUT_SECONDS),
                description="How long one attempt of a job may take, in seconds; then it counts as failed. "
                "Default: no limit.",
            ),
        ]
        | UnsetType
    ) = UNSET
    metadata: Annotated[
        dict[str, Annotated[str, Meta(max_length=MAX_METADATA_VALUE_LENGTH)]],
        Meta(
            max_length=MAX_METADATA_ENTRIES,
            description=f"Stored with the batch in the database, for tracking and filtering. At most "
            f"{MAX_METADATA_ENTRIES} "
            f"entries; keys have at most {MAX_METADATA_KEY_LENGTH} characters, values {MAX_METADATA_VALUE_LENGTH:,}.",
        ),
    ] = field(default_factory=dict)
    run_id: Annotated[
        str,
        Meta(
            max_length=253,
            description="Any text. A batch that is created again with the same name, jobs and runId is the same "
            "run: it is "
            "not run again while its rows are in the database. Another runId makes it a new run.",
        ),
    ] = ""
    database_secret_ref: Annotated[
        DatabaseSecretRef,
        Meta(description="The Secret that holds the database URL, in the namespace of the batch."),
    ] = field(default_factory=DatabaseSecretRef)
    jobs: Jobs | UnsetType = UNSET
    generate: Generate | UnsetType = UNSET
    config_map_refs: ConfigMapRefs | UnsetType = UNSET
    query: Query | UnsetType = UNSET
    depends_on: (
        Annotated[
            list[DependencySpec],
            Meta(
                min_length=1,
                max_length=MAX_DEPENDENCIES,
                description="JobBatches of the same namespace that have to come to their end first: before that, no "
                "job is stored. One that fails makes this batch fail; one that does not exist is waited for.",
                extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | UnsetType
    ) = UNSET
    managed_by: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=63,
                pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-A-Za-z0-9/._~%!$&'()*+,;=:]+$",
                description="Which controller manages the batch: a name such as example.com/controller. With any but "
                f"{OWN_NAME}, the operator does not touch the object. Default: the operator.",
            ),
        ]
        | UnsetType
    ) = UNSET
    suspend: Annotated[
        bool, Meta(description="While true no further job of the batch starts; running ones finish. Can be changed.")
    ] = False
    active_deadline_seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_INT32,
                description="Seconds from status.startTime until jobs that have not started are cancelled and the "
                "batch fails. Does not run while the batch is suspended, and starts anew when it is resumed or "
                "retried. Default: no deadline. Can be changed.",
            ),
        ]
        | UnsetType
    ) = UNSET
    ttl_seconds_after_finished: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=MAX_INT32,
                description="Seconds from status.completionTime until the object is deleted. Its rows stay in the "
                "database, so "
                "that the same batch, created again, shows its result instead of running again. Default: kept. Can "
                "be changed.",
            ),
        ]
        | UnsetType
    ) = UNSET
    deletion_policy: Annotated[
        DeletionPolicy,
        Meta(
            description="What deleting the object does. Delete: the batch is removed from the database. Cancel: jobs "
            "that have not started are cancelled, the rows stay. Orphan: the batch continues without the object. Can "
            "be changed."
        ),
    ] = DeletionPolicy.DELETE
    retry: (
        Annotated[
            RetrySpec,
            Meta(
                description="Runs failed jobs of the finished batch again, once for each raise of attempt. Can be "
                "changed."
            ),
        ]
        | UnsetType
    ) = UNSET


class ErrorGroupStatus(Struct, frozen=True, rename="camel"):
    """All recorded failures of one type."""

    type: Annotated[str, Meta(max_length=253, description="Name of the exception's class, e.g. ValueError.")]
    count: Annotated[int, Meta(ge=0, description="How many failures of this type were recorded.")]
    index: Annotated[int, Meta(ge=0, description="Index of the job of the sample.")]
    message: Annotated[str, Meta(max_length=MAX_ERROR_MESSAGE_LENGTH, description="Message of the sample.")]


class JobBatchStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The progress of the batch. totalJobs = completedJobs + failedJobs + cancelledJobs + pendingJobs, always."""

    observed_generation: Annotated[
        int,
        Meta(
            ge=-1,
            description="metadata.generation that the status was computed from; -1 until there is one.",
        ),
    ] = -1
    batch_id: Annotated[str, Meta(max_length=36, description="The batch's id in the database.")] | UnsetType = UNSET
    content_digest: (
        Annotated[
            str,
            Meta(max_length=64, description="What the content of spec.configMapRefs was when its jobs were loaded."),
        ]
        | UnsetType
    ) = UNSET
    total_jobs: (
        Annotated[
            int,
            Meta(ge=0, description="All jobs of the batch; not there while they have not been counted."),
        ]
        | UnsetType
    ) = UNSET
    pending_jobs: (
        Annotated[int, Meta(ge=0, description="Jobs that have not finished yet, the running ones included.")]
        | UnsetType
    ) = UNSET
    running_jobs: Annotated[int, Meta(ge=0, description="Pending jobs that a worker has claimed.")] | UnsetType = UNSET
    completed_jobs: Annotated[int, Meta(ge=0, description="Jobs that succeeded.")] | UnsetType = UNSET
    failed_jobs: Annotated[int, Meta(ge=0, description="Jobs that failed for good.")] | UnsetType = UNSET
    cancelled_jobs: Annotated[int, Meta(ge=0, description="Jobs that were cancelled.")] | UnsetType = UNSET
    retry_attempt: (
        Annotated[int, Meta(ge=0, description="The last spec.retry.attempt that the batch has followed.")] | UnsetType
    ) = UNSET
    progress: (
        Annotated[str, Meta(max_length=8, description="Share of the jobs that have finished, e.g. 45%.")] | UnsetType
    ) = UNSET
    success_rate: (
        Annotated[
            str,
            Meta(max_length=8, description="completedJobs of completedJobs and failedJobs together, e.g. 99.8%."),
        ]
        | UnsetType
    ) = UNSET
    jobs_per_second: (
        Annotated[
            float,
            Meta(
                ge=0,
                description="Jobs that finished per second, over the last minute of progress; absent while it is not "
                "known, the batch is suspended or nothing runs.",
            ),
        ]
        | UnsetType
    ) = UNSET
    estimated_completion_time: (
        Annotated[
            str,
            Meta(
                description="When the batch would be done at jobsPerSecond, as of its last progress.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET
    start_time: (
        Annotated[
            str,
            Meta(
                description="When the batch was stored, or resumed; absent while it is suspended.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET
    completion_time: (
        Annotated[
            str,
            Meta(
                description="Set when nothing of the batch can run any more, and removed when failed jobs run again.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET
    satisfied_dependencies: (
        Annotated[
            list[Annotated[str, Meta(max_length=MAX_NAME_LENGTH, description="Name of a JobBatch.")]],
            Meta(
                max_length=MAX_DEPENDENCIES,
                description="Those of spec.dependsOn that have been satisfied, and are so for good.",
                extra_json_schema={"x-kubernetes-list-type": "atomic"},
            ),
        ]
        | UnsetType
    ) = UNSET
    errors: (
        Annotated[
            list[ErrorGroupStatus],
            Meta(
                max_length=MAX_ERROR_GROUPS,
                description="The recorded failures by type, the most frequent first, each with a sample.",
                extra_json_schema={"x-kubernetes-list-type": "atomic"},
            ),
        ]
        | UnsetType
    ) = UNSET
    conditions: (
        Annotated[
            list[Condition],
            Meta(
                max_length=16,
                description="Ready, Reconciling, Stalled (as kstatus reads them), Enqueued, Suspended, Complete, "
                "Failed, Succeeded, Served.",
                extra_json_schema=CONDITION_LIST,
            ),
        ]
        | UnsetType
    ) = UNSET


class JobBatchObject(Struct, frozen=True, rename="camel"):
    """A batch of jobs: loaded into a database queue as a whole, run by the workers of that queue."""

    spec: Annotated[JobBatchSpec, Meta(description="The jobs and how to run them.")]
    status: Annotated[JobBatchStatus, Meta(description="What the operator has seen. Only the operator writes it.")] = (
        field(default_factory=JobBatchStatus)
    )
