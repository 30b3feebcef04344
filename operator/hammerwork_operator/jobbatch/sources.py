"""From a JobBatch's spec to a batch of the queue and its jobs. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from hammerwork import Job, JobBatch, Priority, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hammerwork_operator.api.jobbatch import GenerateSpec, JobBatchSpec, JobSpec, RetryPolicySpec

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INDEX = "index"


class InvalidSourceError(ValueError):
    """The spec does not describe jobs; the message names the field."""


def settings(namespace: str, name: str, spec: JobBatchSpec) -> JobBatch:
    """Return the batch that the spec describes, without its jobs. In the database it is called NAMESPACE/NAME."""
    batch = JobBatch(f"{namespace}/{name}", queue=spec.queue)
    batch.with_batch_size(spec.batch_size).with_partial_failure_handling(spec.partial_failure_mode)
    batch.with_suspended(spec.suspend)
    if spec.backoff_limit is not UNSET:
        batch.with_max_attempts(spec.backoff_limit + 1)
    if spec.retry_policy is not UNSET:
        batch.with_retry_policy(_retry_policy(spec.retry_policy))
    if spec.job_timeout_seconds is not UNSET:
        batch.with_timeout(float(spec.job_timeout_seconds))
    for key, value in spec.metadata.items():
        batch.with_metadata(key, value)
    return batch


def _retry_policy(policy: RetryPolicySpec) -> RetryPolicy:
    return RetryPolicy(
        strategy=policy.strategy,
        initial_seconds=float(policy.initial_seconds),
        max_seconds=float(policy.max_seconds),
    )


def inline_jobs(spec: JobBatchSpec, jobs: list[JobSpec]) -> list[Job]:
    """Return the jobs that the spec lists.

    Raises:
        InvalidSourceError: A job names another queue than the batch.
    """
    return [_inline_job(spec, job, position) for position, job in enumerate(jobs)]


def _inline_job(spec: JobBatchSpec, job: JobSpec, position: int) -> Job:
    if job.queue is not UNSET and job.queue != spec.queue:
        raise InvalidSourceError(
            f"spec.jobs[{position}].queue: {job.queue!r}, but spec.queue is {spec.queue!r}; "
            "all jobs of a batch go to one queue"
        )
    label = spec.priority if job.priority is UNSET else job.priority
    return Job(spec.queue, job.payload, Priority.from_label(label))


def generated_jobs(spec: JobBatchSpec, generate: GenerateSpec) -> Iterator[Job]:
    """Yield `generate.count` jobs, one at a time: the count may be any size.

    Raises:
        InvalidSourceError: The template has a placeholder that is not known. Raised before the first job.
    """
    render = compile_template(generate.payload, "spec.generate.payload")
    priority = Priority.from_label(spec.priority)
    queue = spec.queue
    return (Job(queue, render(index), priority) for index in range(generate.count))


def compile_template(template: Any, where: str) -> Callable[[int], Any]:
    """Return the function that makes the payload of the job with a given index.

    In every string value ``{{ index }}`` is replaced by the index; a string that is nothing but the placeholder becomes
    the integer. Keys are left alone. Parts without a placeholder are not copied, so the payloads share them.

    Raises:
        InvalidSourceError: A placeholder is not ``index``; `where` is the path of the template in the object.
    """
    return _compile(template, where) or (lambda _: template)


def _compile(template: Any, where: str) -> Callable[[int], Any] | None:
    """Like `compile_template`, but None where nothing depends on the index."""
    if isinstance(template, str):
        return _compile_text(template, where)
    if isinstance(template, dict):
        entries = {key: _compile(value, f"{where}.{key}") for key, value in template.items()}
        moving = {key: render for key, render in entries.items() if render is not None}
        if not moving:
            return None
        return lambda index: {**template, **{key: render(index) for key, render in moving.items()}}
    if isinstance(template, list):
        items = [_compile(value, f"{where}[{position}]") for position, value in enumerate(template)]
        if not any(items):
            return None
        pairs = list(zip(template, items, strict=True))
        return lambda index: [value if render is None else render(index) for value, render in pairs]
    return None


def _compile_text(template: str, where: str) -> Callable[[int], Any] | None:
    parts = _PLACEHOLDER.split(template)  # text, name, text, name, … text
    texts, named = parts[::2], parts[1::2]
    for name in named:
        if name.strip() != _INDEX:
            message = f"unknown placeholder '{{{{{name}}}}}'; the only one is '{{{{ index }}}}'"
            raise InvalidSourceError(f"{where}: {message}")
    if not named:
        return None
    if texts == ["", ""]:
        return lambda index: index
    return lambda index: str(index).join(texts)
