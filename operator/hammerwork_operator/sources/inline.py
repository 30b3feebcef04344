"""spec.jobs: the jobs are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from hammerwork import Job, Priority
from hammerwork_operator.api import rules
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatch import JobBatchSpec
    from hammerwork_operator.api.sources import JobSpec
    from hammerwork_operator.sources.source import Fetched

FIELD = "jobs"

_ONE_QUEUE = "all jobs of a batch go to one queue: leave out the queue of jobs, or make one JobBatch per queue"

RULES = (
    {
        "rule": "!has(self.jobs) || self.jobs.all(job, !has(job.queue) || job.queue == self.queue)",
        "message": _ONE_QUEUE,
        "messageExpression": rules.said(
            'jobs[%s].queue: "%s", but queue is "%s"; ' + _ONE_QUEUE,
            "string(self.jobs.map(job, !has(job.queue) || job.queue == self.queue).indexOf(false))",
            "self.jobs.filter(job, has(job.queue) && job.queue != self.queue)[0].queue",
            "self.queue",
        ),
        "fieldPath": ".jobs",
    },
)


def count(given: object) -> int:
    """Return the length of the list."""
    return len(given) if isinstance(given, list) else 0


def need(given: list[JobSpec]) -> None:
    """Return that nothing has to be fetched."""


def jobs(spec: JobBatchSpec, given: list[JobSpec], fetched: Fetched | None = None) -> list[Job]:  # noqa: ARG001
    """Return the jobs that the spec lists.

    Raises:
        InvalidSourceError: A job names another queue than the batch.
    """
    return [_job(spec, job, position) for position, job in enumerate(given)]


def _job(spec: JobBatchSpec, job: JobSpec, position: int) -> Job:
    if job.queue is not UNSET and job.queue != spec.queue:
        raise InvalidSourceError(
            f"spec.jobs[{position}].queue: {job.queue!r}, but spec.queue is {spec.queue!r}; {_ONE_QUEUE}"
        )
    label = spec.priority if job.priority is UNSET else job.priority
    return Job(spec.queue, job.payload, Priority.from_label(label))
