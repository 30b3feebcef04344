"""Types and reasons of conditions and the reasons of events, as users and their programs read them."""

from __future__ import annotations

import enum


class Type(enum.StrEnum):
    """What a condition speaks of. A status lists its conditions in this order."""

    # Of each kind, as kstatus reads them.
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"

    # Of a JobBatch.
    ENQUEUED = "Enqueued"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUCCEEDED = "Succeeded"
    SERVED = "Served"

    # Of a WorkerPool, as of a HorizontalPodAutoscaler.
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"


class Reason(enum.StrEnum):
    """Why a condition is as it is, or why there is an event."""

    # Of a JobBatch.
    LOADING = "Loading"
    ENQUEUED = "Enqueued"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    COMPLETED = "Completed"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    JOB_FAILED = "JobFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CANCELLED = "Cancelled"
    INVALID_SOURCE = "InvalidSource"
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    CONFIG_MAP_KEY_NOT_FOUND = "ConfigMapKeyNotFound"
    QUERY_NOT_ALLOWED = "QueryNotAllowed"
    ROWS_MISSING = "RowsMissing"
    BATCH_CONFLICT = "BatchConflict"
    ROWS_ORPHANED = "RowsOrphaned"
    NO_WORKER_POOL = "NoWorkerPool"
    SERVED = "Served"
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    DEPENDENCY_FAILED = "DependencyFailed"
    DEPENDENCY_CYCLE = "DependencyCycle"
    RETRYING = "Retrying"
    NOTHING_TO_RETRY = "NothingToRetry"
    DATABASE_ROLLED_BACK = "DatabaseRolledBack"
    STATUS_EDITED = "StatusEdited"

    # Of a JobBatchSchedule; most are those of a CronJob.
    SCHEDULED = "Scheduled"
    UNKNOWN_TIME_ZONE = "UnknownTimeZone"
    INVALID_SCHEDULE = "InvalidSchedule"
    SUCCESSFUL_CREATE = "SuccessfulCreate"
    FAILED_CREATE = "FailedCreate"
    NAME_CONFLICT = "NameConflict"
    SUCCESSFUL_DELETE = "SuccessfulDelete"
    SAW_COMPLETED_BATCH = "SawCompletedBatch"
    MISSING_BATCH = "MissingBatch"
    BATCH_ALREADY_ACTIVE = "BatchAlreadyActive"
    MISS_SCHEDULE = "MissSchedule"
    TOO_MANY_MISSED_TIMES = "TooManyMissedTimes"

    # Of several kinds.
    INVALID_SPEC = "InvalidSpec"
    TOO_LARGE = "TooLarge"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 (a reason, not a secret)
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105
    SECRET_FORBIDDEN = "SecretForbidden"  # noqa: S105
    INVALID_DATABASE_URL = "InvalidDatabaseURL"
    DATABASE_FORBIDDEN = "DatabaseForbidden"
    CONFIG_MAP_FORBIDDEN = "ConfigMapForbidden"
    DATABASE_UNAVAILABLE = "DatabaseUnavailable"
    DATABASE_REFUSED = "DatabaseRefused"

    # Of a WorkerPool.
    PROGRESSING = "Progressing"
    AVAILABLE = "Available"
    DEPLOYMENT_CONFLICT = "DeploymentConflict"
    DEPLOYMENT_REJECTED = "DeploymentRejected"
    APPLY_FAILED = "ApplyFailed"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    REPLICA_FAILURE = "ReplicaFailure"

    # Of a WorkerPool's number of workers; most are those of a HorizontalPodAutoscaler.
    VALID_METRIC_FOUND = "ValidMetricFound"
    SCALING_DISABLED = "ScalingDisabled"
    DURATIONS_UNKNOWN = "DurationsUnknown"
    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    SUCCESSFUL_RESCALE = "SuccessfulRescale"

    # Of a WorkerPool's Pods, as Kubernetes calls them.
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    INVALID_IMAGE_NAME = "InvalidImageName"
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    FAILED_MOUNT = "FailedMount"
    FAILED_CREATE_POD_SANDBOX = "FailedCreatePodSandBox"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    RUN_CONTAINER_ERROR = "RunContainerError"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    OOM_KILLED = "OOMKilled"
