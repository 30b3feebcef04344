"""The batch that a JobBatch's spec describes, but for its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from hammerwork import JobBatch, RetryPolicy

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatch import JobBatchSpec, RetryPolicySpec


def empty_batch(namespace: str, name: str, spec: JobBatchSpec) -> JobBatch:
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
    if spec.retry is not UNSET:
        batch.retry_attempt = spec.retry.attempt
    for key, value in spec.metadata.items():
        batch.with_metadata(key, value)
    return batch


def _retry_policy(policy: RetryPolicySpec) -> RetryPolicy:
    return RetryPolicy(
        strategy=policy.strategy,
        initial_seconds=float(policy.initial_seconds),
        max_seconds=float(policy.max_seconds),
    )
