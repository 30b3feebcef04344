"""Jobs and batches as values, and the rules that make a batch valid. Nothing here touches a database."""

from __future__ import annotations

import enum
import random
import re
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec

from hammerwork.errors import BatchConflictError, InvalidBatchError
from hammerwork.ids import new_batch_id, part_id

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_JOBS_IN_MEMORY = 10_000
MAX_BATCH_SIZE = 1_000
DEFAULT_BATCH_SIZE = 100
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_PAYLOAD_DEPTH = 500
MAX_ATTEMPTS = 101
DEFAULT_MAX_ATTEMPTS = 4
MAX_NAME_LENGTH = 253
MAX_METADATA_ENTRIES = 64
MAX_METADATA_KEY_LENGTH = 63
MAX_METADATA_VALUE_LENGTH = 1_024
MAX_TIMEOUT_SECONDS = 7 * 86_400.0
MAX_RETRY_SECONDS = 86_400.0

QUEUE_PATTERN = r"^[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
"""A queue's name also has to fit a Kubernetes label value: at most 63 characters."""

_QUEUE = re.compile(QUEUE_PATTERN)

_OWN_FIELDS = {"name", "jobs", "metadata", "_given", "_streamed"}
"""What the parts of a batch do not share with it."""


class Priority(enum.IntEnum):
    """Higher runs first, within a batch and between the batches of a queue."""

    BACKGROUND = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """The name as manifests spell it, e.g. ``Normal``."""
        return self.name.capitalize()

    @classmethod
    def from_label(cls, label: str) -> Self:
        """Return the priority that manifests call `label`; KeyError for an unknown one."""
        return cls[label.upper()]


class PartialFailureMode(enum.Enum):
    """What the failure of one job means for the rest of its batch."""

    CONTINUE_ON_ERROR = "ContinueOnError"
    """The other jobs go on; the last error of each failed job is kept."""
    FAIL_FAST = "FailFast"
    """The first job that fails for good fails the batch; what has not started is cancelled."""
    COLLECT_ERRORS = "CollectErrors"
    """The other jobs go on; the error of every attempt is kept, with its traceback (of the first 10,000 or so)."""


class BatchState(enum.Enum):
    """Where a batch stands. Suspension is a flag beside it, see `BatchStatus.suspended`."""

    LOADING = "Loading"
    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class JobStatus(enum.Enum):
    """Where a job stands."""

    PENDING = "Pending"
    SCHEDULED = "Scheduled"
    """Failed, and waiting until its next attempt is due."""
    RUNNING = "Running"
    """In the hands of a worker: running, or about to."""
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class RetryStrategy(enum.Enum):
    """How the pause before an attempt grows with the number of attempts made."""

    FIXED = "Fixed"
    LINEAR = "Linear"
    EXPONENTIAL = "Exponential"


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The pause between a failed attempt and the next one, in seconds.

    `jitter` is the share of the pause that is drawn at random: 0.1 makes a pause of 10 s last 9 to 10 s.
    """

    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL
    initial_seconds: float = 1.0
    max_seconds: float = 300.0
    jitter: float = 0.1

    def delay(self, attempts_made: int) -> float:
        """Return the seconds to wait after `attempts_made` (1 or more) failed attempts."""
        if self.strategy is RetryStrategy.FIXED:
            pause = self.initial_seconds
        elif self.strategy is RetryStrategy.LINEAR:
            pause = self.initial_seconds * attempts_made
        else:
            pause = self.initial_seconds * 2.0 ** min(attempts_made - 1, 64)
        pause = min(pause, self.max_seconds)
        return pause - pause * self.jitter * random.random()  # noqa: S311 (spreading load needs no secrecy)


class Job(msgspec.Struct):
    """One unit of work: a JSON payload for the handler of a queue.

    The last four fields are set for the handler by the worker; whoever makes a job leaves them alone.
    """

    queue: str
    payload: Any
    priority: Priority = Priority.NORMAL
    batch_id: UUID | None = None
    index: int = 0
    """Position in the batch, from 0. Jobs are numbered slice by slice (see `slices.py`), within a slice by priority."""
    attempt: int = 1
    """1 for the first run."""
    max_attempts: int = 1

    @property
    def id(self) -> str:
        """Unique name of the job: the batch's id and the job's index."""
        return f"{self.batch_id}/{self.index}"

    def with_priority(self, priority: Priority) -> Job:
        """Return the same job with another priority."""
        return msgspec.structs.replace(self, priority=priority)

    def as_critical(self) -> Job:
        """Return the same job with priority Critical."""
        return self.with_priority(Priority.CRITICAL)

    def as_high_priority(self) -> Job:
        """Return the same job with priority High."""
        return self.with_priority(Priority.HIGH)

    def as_normal_priority(self) -> Job:
        """Return the same job with priority Normal."""
        return self.with_priority(Priority.NORMAL)

    def as_low_priority(self) -> Job:
        """Return the same job with priority Low."""
        return self.with_priority(Priority.LOW)

    def as_background(self) -> Job:
        """Return the same job with priority Background."""
        return self.with_priority(Priority.BACKGROUND)


class JobBatch:
    """A named set of jobs of one queue, enqueued whole or not at all.

    The ``with_`` methods change the batch and return it, so that calls can be chained::

        batch = JobBatch("welcome_emails").with_jobs(jobs).with_batch_size(100)

    A batch that is given to `JobQueue.enqueue_stream` carries the settings only; its jobs come from the stream.

    The object is the batch: enqueued twice, as after a connection that broke, it is stored once. A second batch with
    the same jobs or settings is a second object.
    """

    def __init__(self, name: str, *, queue: str | None = None) -> None:
        self.id = new_batch_id()
        """What the batch is called in the database, unless it is enqueued with another id."""
        self.name = name
        self.jobs: list[Job] = []
        self.batch_size = DEFAULT_BATCH_SIZE
        self.failure_mode = PartialFailureMode.CONTINUE_ON_ERROR
        self.metadata: dict[str, str] = {}
        self.retry_policy = RetryPolicy()
        self.timeout_seconds: float | None = None
        self.suspended = False
        self.retry_attempt = 0
        """A retry by this number or a lower one does nothing; see `JobQueue.retry_failed`."""
        self._queue = queue
        self._max_attempts: int | None = None
        self._given: list[Job] | None = None
        """The jobs that it was enqueued with."""
        self._streamed = False
        """Whether jobs from a stream were stored, to the last one."""

    @property
    def queue(self) -> str:
        """Name of the queue: the one given, else that of the first job; empty for a batch that has neither."""
        if self._queue is not None:
            return self._queue
        return self.jobs[0].queue if self.jobs else ""

    @property
    def max_attempts(self) -> int:
        """Runs that a failing job gets at most: the number given, else 4, or 1 for FailFast."""
        if self._max_attempts is not None:
            return self._max_attempts
        return 1 if self.failure_mode is PartialFailureMode.FAIL_FAST else DEFAULT_MAX_ATTEMPTS

    def with_queue(self, queue: str) -> Self:
        """Name the queue; needed only where no job tells it, as with streams."""
        self._queue = queue
        return self

    def with_jobs(self, jobs: Iterable[Job]) -> Self:
        """Replace the jobs."""
        self.jobs = list(jobs)
        return self

    def add_job(self, job: Job) -> Self:
        """Append one job."""
        self.jobs.append(job)
        return self

    def with_batch_size(self, jobs: int) -> Self:
        """Set how many jobs a worker takes at most in one claim: 1 to 1,000."""
        self.batch_size = jobs
        return self

    def with_partial_failure_handling(self, mode: PartialFailureMode) -> Self:
        """Set what the failure of a job means for the batch."""
        self.failure_mode = mode
        return self

    def with_metadata(self, key: str, value: str) -> Self:
        """Attach one entry of metadata."""
        self.metadata[key] = value
        return self

    def with_max_attempts(self, attempts: int) -> Self:
        """Set how often a failing job is run at most, the first run included."""
        self._max_attempts = attempts
        return self

    def with_retry_policy(self, policy: RetryPolicy) -> Self:
        """Set the pauses between attempts."""
        self.retry_policy = policy
        return self

    def with_timeout(self, seconds: float) -> Self:
        """Set how long one attempt may take."""
        self.timeout_seconds = seconds
        return self

    def with_suspended(self, suspended: bool = True) -> Self:
        """Enqueue the batch suspended: nothing runs before `JobQueue.resume_batch`."""
        self.suspended = suspended
        return self

    def split(self, jobs_per_part: int) -> list[JobBatch]:
        """Cut a large batch into parts of at most `jobs_per_part` jobs.

        Each part is called ``NAME_part_I``, has the metadata ``parent_batch`` and ``part``, and an id that follows from
        this batch's, the size and its number: cut again in the same way, the parts are the same batches.
        """
        if not 1 <= jobs_per_part <= MAX_JOBS_IN_MEMORY:
            raise InvalidBatchError(
                f"batch {self.name!r}: split into parts of {jobs_per_part} jobs: must be 1 to {MAX_JOBS_IN_MEMORY:,}"
            )
        parts = []
        for number, start in enumerate(range(0, len(self.jobs), jobs_per_part)):
            part = JobBatch(f"{self.name}_part_{number}", queue=self._queue)
            part.__dict__.update(
                {k: v for k, v in self.__dict__.items() if k not in _OWN_FIELDS},
                id=part_id(self.id, jobs_per_part, number),
                jobs=self.jobs[start : start + jobs_per_part],
                metadata={**self.metadata, "parent_batch": self.name, "part": str(number)},
            )
            parts.append(part)
        return parts

    def note_enqueued(self) -> None:
        """Remember what is about to be enqueued, since other jobs under the same id would be dropped without a word.

        Raises:
            BatchConflictError: The object was enqueued with other jobs before.
        """
        if self._streamed or (self._given is not None and self._given != self.jobs):
            before = "from a stream" if self._streamed else "with other jobs"
            raise BatchConflictError(
                f"batch {self.name!r} ({self.id}): this JobBatch was enqueued {before} before; "
                "make a JobBatch for each batch"
            )
        self._given = list(self.jobs)

    def note_streamed(self) -> None:
        """Remember that a stream was stored to its end: what comes now is another one."""
        self._streamed = True

    def validate(self) -> None:
        """Raise `InvalidBatchError` unless the batch can be enqueued as it is."""
        self.validate_settings()
        if not self.jobs:
            raise InvalidBatchError(f"batch {self.name!r}: jobs: the batch is empty; it needs at least one job")
        if len(self.jobs) > MAX_JOBS_IN_MEMORY:
            raise InvalidBatchError(
                f"batch {self.name!r}: jobs: {len(self.jobs):,} jobs, the limit is {MAX_JOBS_IN_MEMORY:,}; "
                "cut it with JobBatch.split() or send it with JobQueue.enqueue_stream()"
            )
        for position, job in enumerate(self.jobs):
            self.check_queue_of(job, position)

    def check_queue_of(self, job: Job, position: int) -> None:
        """Raise `InvalidBatchError` if the job at `position` belongs to another queue than the batch."""
        if job.queue != self.queue:
            raise InvalidBatchError(
                f"batch {self.name!r}: jobs[{position}].queue: {job.queue!r}, but the batch's queue is "
                f"{self.queue!r}; all jobs of a batch go to one queue"
            )

    def validate_settings(self) -> None:
        """Raise `InvalidBatchError` unless everything but the jobs is in order."""
        for field, wrong in self.settings_faults():
            raise InvalidBatchError(f"batch {self.name!r}: {field}: {wrong}")

    def settings_faults(self) -> Iterable[tuple[str, str]]:
        """Yield each setting that is out of order, and what is wrong with it."""
        if not 1 <= len(self.name) <= MAX_NAME_LENGTH or not self.name.isprintable():
            yield "name", f"{len(self.name)} characters; must be 1 to {MAX_NAME_LENGTH} printable ones"
        if (self.queue or self._queue is not None) and not _QUEUE.fullmatch(self.queue):
            yield (
                "queue",
                f"{self.queue!r} must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends",
            )
        yield from _out_of_range("batch_size", self.batch_size, 1, MAX_BATCH_SIZE)
        yield from _out_of_range("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS:
            yield (
                "timeout_seconds",
                f"{self.timeout_seconds:g} must be more than 0 and at most {MAX_TIMEOUT_SECONDS:,.0f}",
            )
        yield from _retry_faults(self.retry_policy)
        yield from _metadata_faults(self.metadata)


def _out_of_range(field: str, value: int, low: int, high: int) -> Iterable[tuple[str, str]]:
    if not low <= value <= high:
        yield field, f"{value} must be {low} to {high:,}"


def _retry_faults(policy: RetryPolicy) -> Iterable[tuple[str, str]]:
    if not 0 <= policy.initial_seconds <= policy.max_seconds:
        yield (
            "retry_policy",
            f"initial_seconds {policy.initial_seconds:g} must be 0 to max_seconds ({policy.max_seconds:g})",
        )
    elif policy.max_seconds > MAX_RETRY_SECONDS:
        yield "retry_policy", f"max_seconds {policy.max_seconds:g} must be at most {MAX_RETRY_SECONDS:,.0f}"
    if not 0 <= policy.jitter <= 1:
        yield "retry_policy", f"jitter {policy.jitter:g} must be 0 to 1"


def _metadata_faults(metadata: dict[str, str]) -> Iterable[tuple[str, str]]:
    if len(metadata) > MAX_METADATA_ENTRIES:
        yield "metadata", f"{len(metadata)} entries, the limit is {MAX_METADATA_ENTRIES}"
    entries: dict[Any, Any] = dict(metadata)  # callers without a type checker pass anything
    for key, value in entries.items():
        if not isinstance(key, str) or not 1 <= len(key) <= MAX_METADATA_KEY_LENGTH:
            shown = repr(key if not isinstance(key, str) else key[:100])
            size = f" has {len(key)} characters," if isinstance(key, str) else ""
            yield "metadata", f"key {shown}{size} must be a string of 1 to {MAX_METADATA_KEY_LENGTH} characters"
        if not isinstance(value, str) or len(value) > MAX_METADATA_VALUE_LENGTH:
            yield f"metadata[{key!r}]", f"must be a string of at most {MAX_METADATA_VALUE_LENGTH:,} characters"
        elif "\0" in key or "\0" in value:
            yield f"metadata[{key!r}]", "must not contain the character NUL"
