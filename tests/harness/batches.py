"""Batches as tests enqueue them, all for the queue `q`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, PartialFailureMode, Priority, RetryPolicy, RetryStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=0, max_seconds=0)


def number(n: int) -> object:
    """The payload of the nth job: n."""
    return n


def numbered(n: int) -> object:
    """The payload of the nth job, in an object: ``{"n": n}``."""
    return {"n": n}


def batch(
    count: int,
    mode: PartialFailureMode = PartialFailureMode.CONTINUE_ON_ERROR,
    *,
    name: str = "mail",
    payload: Callable[[int], object] = number,
) -> JobBatch:
    """Return a batch of so many jobs."""
    return JobBatch(name).with_jobs(Job("q", payload(n)) for n in range(count)).with_partial_failure_handling(mode)


def retried_at_once(count: int, mode: PartialFailureMode = PartialFailureMode.CONTINUE_ON_ERROR) -> JobBatch:
    """Return a batch whose jobs are tried again without a pause."""
    return batch(count, mode).with_retry_policy(AT_ONCE)


def tried_once(count: int, timeout: float | None = None) -> JobBatch:
    """Return a batch whose jobs have one attempt, of at most `timeout` seconds."""
    made = batch(count).with_max_attempts(1)
    return made if timeout is None else made.with_timeout(timeout)


def stream(count: int) -> Iterator[Job]:
    """Jobs of mixed priorities."""
    return (Job("q", numbered(n), Priority(n % 5)) for n in range(count))
