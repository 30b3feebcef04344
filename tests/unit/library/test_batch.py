"""What makes a batch valid, and what its settings do."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork import (
    BatchState,
    BatchStatus,
    InvalidBatchError,
    Job,
    JobBatch,
    PartialFailureMode,
    Priority,
    RetryPolicy,
    RetryStrategy,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def jobs(count: int, queue: str = "emails") -> list[Job]:
    return [Job(queue, {"n": n}) for n in range(count)]


def batch(count: int = 1) -> JobBatch:
    return JobBatch("mail").with_jobs(jobs(count))


# -- validation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.with_jobs([]), "jobs: the batch is empty; it needs at least one job"),
        (
            lambda b: b.with_jobs(jobs(10_001)),
            (
                "jobs: 10,001 jobs, the limit is 10,000; cut it with JobBatch.split() or send it with "
                "JobQueue.enqueue_stream()"
            ),
        ),
        (
            lambda b: b.add_job(Job("sms", {})),
            "jobs[1].queue: 'sms', but the batch's queue is 'emails'; all jobs of a batch go to one queue",
        ),
        (
            lambda b: b.with_queue("sms"),
            "jobs[0].queue: 'emails', but the batch's queue is 'sms'; all jobs of a batch go to one queue",
        ),
        (lambda b: b.with_batch_size(0), "batch_size: 0 must be 1 to 1,000"),
        (lambda b: b.with_batch_size(1_001), "batch_size: 1001 must be 1 to 1,000"),
        (lambda b: b.with_max_attempts(0), "max_attempts: 0 must be 1 to 101"),
        (lambda b: b.with_max_attempts(102), "max_attempts: 102 must be 1 to 101"),
        (
            lambda b: b.with_timeout(0),
            "timeout_seconds: 0 must be more than 0 and at most 604,800",
        ),
        (
            lambda b: b.with_timeout(604_801),
            "timeout_seconds: 604801 must be more than 0 and at most 604,800",
        ),
        (
            lambda b: b.with_timeout(float("nan")),
            "timeout_seconds: nan must be more than 0 and at most 604,800",
        ),
        (
            lambda b: b.with_retry_policy(RetryPolicy(initial_seconds=-1)),
            "retry_policy: initial_seconds -1 must be 0 to max_seconds (300)",
        ),
        (
            lambda b: b.with_retry_policy(RetryPolicy(initial_seconds=301)),
            "retry_policy: initial_seconds 301 must be 0 to max_seconds (300)",
        ),
        (
            lambda b: b.with_retry_policy(RetryPolicy(max_seconds=float("inf"))),
            "retry_policy: max_seconds inf must be at most 86,400",
        ),
        (
            lambda b: b.with_retry_policy(RetryPolicy(jitter=1.5)),
            "retry_policy: jitter 1.5 must be 0 to 1",
        ),
        (
            lambda b: [b.with_metadata(f"key{n}", "") for n in range(65)],
            "metadata: 65 entries, the limit is 64",
        ),
        (
            lambda b: b.with_metadata("", "x"),
            "metadata: key '' has 0 characters, must be a string of 1 to 63 characters",
        ),
        (
            lambda b: b.with_metadata("k" * 64, "x"),
            f"metadata: key '{'k' * 64}' has 64 characters, must be a string of 1 to 63 characters",
        ),
        (
            lambda b: b.with_metadata("k", "v" * 1_025),
            "metadata['k']: must be a string of at most 1,024 characters",
        ),
        (
            lambda b: b.with_metadata("k", 7),
            "metadata['k']: must be a string of at most 1,024 characters",
        ),
        (lambda b: b.with_metadata("k", "a\0b"), "metadata['k']: must not contain the character NUL"),
    ],
)
def test_a_broken_rule_is_told_with_its_limit(change: Callable[[Any], object], message: str) -> None:
    broken = batch()
    change(broken)
    with pytest.raises(InvalidBatchError) as caught:
        broken.validate()
    assert str(caught.value) == f"batch 'mail': {message}"


@pytest.mark.parametrize("name", ["", "x" * 254, "two\nlines", "nul\0"])
def test_names_have_1_to_253_printable_characters(name: str) -> None:
    with pytest.raises(InvalidBatchError, match=r"name: \d+ characters; must be 1 to 253 printable ones"):
        JobBatch(name).with_jobs(jobs(1)).validate()


@pytest.mark.parametrize("queue", ["", "-a", "a-", "a b", "ä", "a/b", "x" * 64, "emails\n", "a\0"])
def test_queue_names_must_fit_a_label_value(queue: str) -> None:
    with pytest.raises(InvalidBatchError, match=r"queue: .* must be 1 to 63 letters, digits"):
        JobBatch("mail", queue=queue).validate_settings()


@pytest.mark.parametrize("queue", ["a", "A.b_c-9", "x" * 63])
def test_good_queue_names_pass(queue: str) -> None:
    JobBatch("mail", queue=queue).with_jobs(jobs(1, queue)).validate()


def test_values_on_the_limits_are_valid() -> None:
    (
        JobBatch("x" * 253)
        .with_jobs(jobs(10_000))
        .with_batch_size(1_000)
        .with_max_attempts(101)
        .with_timeout(604_800)
        .with_retry_policy(RetryPolicy(initial_seconds=86_400, max_seconds=86_400, jitter=1))
        .with_metadata("k" * 63, "v" * 1_024)
        .validate()
    )


# -- settings


def test_the_queue_is_the_one_of_the_first_job_unless_given() -> None:
    assert batch().queue == "emails"
    assert JobBatch("mail").queue == ""
    assert JobBatch("mail").with_queue("q").queue == "q"


def test_failing_fast_makes_one_attempt_unless_more_are_asked_for() -> None:
    assert batch().max_attempts == 4
    fail_fast = batch().with_partial_failure_handling(PartialFailureMode.FAIL_FAST)
    assert fail_fast.max_attempts == 1
    assert fail_fast.with_max_attempts(3).max_attempts == 3


def test_jobs_take_a_priority_without_changing_the_original() -> None:
    job = Job("emails", {})
    made = [
        job.as_critical(),
        job.as_high_priority(),
        job.as_normal_priority(),
        job.as_low_priority(),
        job.as_background(),
    ]
    assert [each.priority for each in made] == sorted(Priority, reverse=True)
    assert job.priority is Priority.NORMAL


def test_priorities_are_spelled_as_in_manifests() -> None:
    assert [priority.label for priority in Priority] == ["Background", "Low", "Normal", "High", "Critical"]
    assert [Priority.from_label(priority.label) for priority in Priority] == list(Priority)
    with pytest.raises(KeyError):
        Priority.from_label("Urgent")


# -- split


@given(count=st.integers(0, 300), size=st.integers(1, 120))
def test_splitting_keeps_every_job_once_and_in_order(count: int, size: int) -> None:
    whole = batch(count).with_metadata("team", "a").with_batch_size(7).with_max_attempts(9)
    parts = whole.split(size)
    assert [job for part in parts for job in part.jobs] == whole.jobs
    assert all(1 <= len(part.jobs) <= size for part in parts)
    assert [part.name for part in parts] == [f"mail_part_{n}" for n in range(len(parts))]
    assert [part.metadata for part in parts] == [
        {"team": "a", "parent_batch": "mail", "part": str(n)} for n in range(len(parts))
    ]
    assert {(part.batch_size, part.max_attempts, part.failure_mode) for part in parts} <= {
        (7, 9, PartialFailureMode.CONTINUE_ON_ERROR)
    }
    assert whole.metadata == {"team": "a"}


def test_changing_a_part_leaves_the_others_alone() -> None:
    first, second = batch(2).split(1)
    first.with_metadata("x", "y").add_job(Job("emails", {}))
    assert "x" not in second.metadata
    assert len(second.jobs) == 1


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_parts_have_1_to_10_000_jobs(size: int) -> None:
    with pytest.raises(InvalidBatchError, match=f"split into parts of {size} jobs: must be 1 to 10,000"):
        batch(3).split(size)


# -- retry policy

policies = st.builds(
    lambda strategy, initial, extra, jitter: RetryPolicy(
        strategy=strategy, initial_seconds=initial, max_seconds=initial + extra, jitter=jitter
    ),
    st.sampled_from(RetryStrategy),
    st.floats(0, 1_000),
    st.floats(0, 10_000),
    st.floats(0, 1),
)


@given(policy=policies, attempts=st.integers(1, 101))
def test_a_pause_is_never_negative_and_never_above_the_maximum(policy: RetryPolicy, attempts: int) -> None:
    assert 0 <= policy.delay(attempts) <= policy.max_seconds


@given(policy=policies, attempts=st.integers(1, 101))
def test_jitter_takes_off_at_most_its_share(policy: RetryPolicy, attempts: int) -> None:
    steady = RetryPolicy(
        strategy=policy.strategy, initial_seconds=policy.initial_seconds, max_seconds=policy.max_seconds, jitter=0
    ).delay(attempts)
    assert steady * (1 - policy.jitter) <= policy.delay(attempts) * (1 + 1e-9)
    assert policy.delay(attempts) <= steady


@pytest.mark.parametrize(
    ("strategy", "pauses"),
    [
        (RetryStrategy.FIXED, [2, 2, 2, 2, 2]),
        (RetryStrategy.LINEAR, [2, 4, 6, 8, 10]),
        (RetryStrategy.EXPONENTIAL, [2, 4, 8, 10, 10]),
    ],
)
def test_pauses_grow_as_the_strategy_says(strategy: RetryStrategy, pauses: list[float]) -> None:
    policy = RetryPolicy(strategy=strategy, initial_seconds=2, max_seconds=10, jitter=0)
    assert [policy.delay(attempts) for attempts in range(1, 6)] == pauses


# -- status


def status(**counts: int) -> BatchStatus:
    values = {"total_jobs": 0, "pending_jobs": 0, "running_jobs": 0, "completed_jobs": 0, "failed_jobs": 0}
    return BatchStatus(
        batch_id=uuid.uuid4(),
        name="mail",
        queue="emails",
        state=BatchState.RUNNING,
        suspended=False,
        failure_mode=PartialFailureMode.CONTINUE_ON_ERROR,
        metadata={},
        fingerprint=None,
        created_at=datetime.now(UTC),
        started_at=None,
        finished_at=None,
        cancelled_jobs=0,
        retried_at=None,
        **{**values, **counts},
    )


def test_rates_of_a_batch() -> None:
    nothing = status(total_jobs=10, pending_jobs=10)
    assert (nothing.success_rate(), nothing.progress(), nothing.finished) == (1.0, 0.0, False)
    some = status(total_jobs=10, pending_jobs=6, completed_jobs=3, failed_jobs=1)
    assert (some.success_rate(), some.progress()) == (0.75, 0.4)
    assert status().progress() == 0.0
