"""The books of one claim: every job is reported exactly once, whatever happens in whatever order."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hammerwork import AttemptFailedError, JobFailedError, PartialFailureMode, Priority, RetryPolicy, RetryStrategy
from hammerwork.backends.protocol import Claim
from hammerwork.working.claims import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES, HeldClaim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork.backends.protocol import Settlement, Span

STEADY = RetryPolicy(strategy=RetryStrategy.FIXED, initial_seconds=3, jitter=0)


def held(
    jobs: int = 1,
    *,
    lo: int = 0,
    attempt: int = 1,
    max_attempts: int = 1,
    mode: PartialFailureMode = PartialFailureMode.CONTINUE_ON_ERROR,
) -> HeldClaim:
    return HeldClaim(
        Claim(
            id=1,
            batch_id=uuid.uuid4(),
            indexes=range(lo, lo + jobs),
            attempt=attempt,
            priority=Priority.NORMAL,
            alone=False,
            max_attempts=max_attempts,
            timeout_seconds=None,
            failure_mode=mode,
            retry_policy=STEADY,
            batch_size=100,
            payloads=[None] * jobs,
        )
    )


def indexes(spans: Iterable[Span] | None) -> list[int]:
    return [index for lo, hi in spans or () for index in range(lo, hi + 1)]


def raised(error: BaseException) -> BaseException:
    """The error with a traceback, as a handler raises it."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 (the point)
        return caught


class Books(RuleBasedStateMachine):
    """A claim in the hands of a worker, beside a queue that adds up what it is told."""

    @initialize(
        jobs=st.integers(1, 12),
        lo=st.integers(0, 500),
        attempts=st.sampled_from([(1, 1), (1, 2), (2, 2), (3, 9)]),
        mode=st.sampled_from(PartialFailureMode),
    )
    def take(self, jobs: int, lo: int, attempts: tuple[int, int], mode: PartialFailureMode) -> None:
        self.claim = held(jobs, lo=lo, attempt=attempts[0], max_attempts=attempts[1], mode=mode)
        self.running: list[int] = []
        self.fates: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.moved: list[int] = []
        self.open = jobs
        self.sent: Settlement | None = None
        self.ended = False

    @precondition(lambda self: self.claim.waiting)
    @rule()
    def start(self) -> None:
        offset = self.claim.start()
        assert offset not in self.running
        self.running.append(offset)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["complete", "fail", "fail for good", "release"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        offset = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        claim = self.claim.claim
        if outcome == "complete":
            self.claim.complete(offset)
            self.fates["completed"] += 1
        elif outcome == "release":
            self.claim.release(offset)
            self.fates["released"] += 1
        else:
            final = self.claim.fail(offset, JobFailedError("no") if outcome == "fail for good" else ValueError("no"))
            assert final == (outcome == "fail for good" or claim.attempt >= claim.max_attempts)
            self.fates["failed" if final else "retried"] += 1

    @rule()
    def give_back_the_rest(self) -> None:
        self.fates["released"] += self.claim.release_waiting()

    @precondition(lambda self: self.claim.has_news() and not self.ended)
    @rule()
    def report(self) -> None:
        report = self.claim.report()
        if self.sent is not None:
            assert report is self.sent, "a report that was not confirmed is repeated as it was"
        self.sent = report

    @precondition(lambda self: self.sent is not None)
    @rule()
    def confirm(self) -> None:
        report, self.sent = self.sent, None
        assert report is not None
        outcomes = {
            "completed": report.completed,
            "failed": report.failed,
            "retried": len(indexes(report.retries)),
            "released": len(indexes(report.released)),
        }
        assert report.open == self.open
        self.open -= sum(outcomes.values())
        self.told.update(outcomes)
        moved = indexes(report.retries) + indexes(report.released)
        self.moved += moved
        remaining = [] if report.remaining is None else indexes(report.remaining)
        assert len(remaining) == self.open
        assert not set(remaining) & set(self.moved)
        self.ended = self.claim.confirm()
        assert self.ended == (self.open == 0)

    @invariant()
    def every_outcome_is_told_once(self) -> None:
        if not hasattr(self, "claim"):
            return
        claim = self.claim.claim
        assert all(self.told[fate] <= self.fates[fate] for fate in self.fates)
        assert len(self.moved) == len(set(self.moved))
        assert all(index in claim.indexes for index in self.moved)
        assert self.claim.open == self.claim.size - self.fates.total()

    def teardown(self) -> None:
        if not hasattr(self, "claim"):
            return
        while self.running:
            self.claim.complete(self.running.pop())
            self.fates["completed"] += 1
        self.give_back_the_rest()
        for _ in range(3):
            if not self.ended:
                self.report()
                self.confirm()
        assert self.ended
        assert +self.told == +self.fates
        assert self.told.total() == self.claim.size


TestBooks = Books.TestCase


def test_adjacent_retries_are_merged() -> None:
    claim = held(6, lo=10, max_attempts=2)
    for offset in [claim.start() for _ in range(6)]:
        if offset == 3:
            claim.complete(offset)
        else:
            claim.fail(offset, ValueError())
    report = claim.report()
    assert (report.retries, report.delay) == ([(10, 12), (14, 15)], 3.0)


def test_only_the_last_error_of_a_job_is_recorded_when_the_batch_continues_on_error() -> None:
    claim = held(2, attempt=1, max_attempts=2)
    claim.fail(claim.start(), raised(ValueError("first")))
    claim.fail(claim.start(), raised(JobFailedError("broken")))
    (failure,) = claim.report().failures or []
    assert (failure.idx, failure.final, failure.error_type, failure.message) == (1, True, "JobFailedError", "broken")
    assert failure.traceback is None


def test_every_error_is_recorded_with_its_traceback_when_errors_are_collected() -> None:
    claim = held(2, attempt=1, max_attempts=2, mode=PartialFailureMode.COLLECT_ERRORS)
    claim.fail(claim.start(), raised(ValueError("first")))
    claim.fail(claim.start(), raised(JobFailedError("broken")))
    first, second = claim.report().failures or []
    assert (first.final, second.final) == (False, True)
    assert first.traceback is not None
    assert "in raised" in first.traceback
    assert first.traceback.endswith("ValueError: first\n")


def test_messages_and_tracebacks_are_bounded_and_keep_what_tells_most() -> None:
    claim = held(mode=PartialFailureMode.COLLECT_ERRORS)
    claim.fail(claim.start(), raised(ValueError("head" + "x" * 20_000 + "tail")))
    (failure,) = claim.report().failures or []
    assert len(failure.message) == MAX_MESSAGE_BYTES
    assert failure.message.startswith("head")
    assert failure.traceback is not None
    assert len(failure.traceback) == MAX_TRACEBACK_BYTES
    assert failure.traceback.endswith("tail\n")


@pytest.mark.parametrize(("text", "stored"), [("a\0b", "a\ufffdb"), ("a\ud800b", "a?b"), ("Käse 🧀", "Käse 🧀")])
def test_messages_are_made_storable(text: str, stored: str) -> None:
    claim = held(mode=PartialFailureMode.COLLECT_ERRORS)
    claim.fail(claim.start(), raised(ValueError(text)))
    (failure,) = claim.report().failures or []
    assert failure.message == stored
    assert failure.traceback is not None
    assert stored in failure.traceback


def test_an_error_that_cannot_be_printed_still_fails_its_job() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    claim = held(mode=PartialFailureMode.COLLECT_ERRORS)
    assert claim.fail(claim.start(), raised(UnprintableError()))
    (failure,) = claim.report().failures or []
    assert failure.error_type == "UnprintableError"
    assert failure.message == "<message of UnprintableError cannot be printed: RuntimeError>"


@pytest.mark.parametrize(("asked", "delay"), [([], 3), ([None, 1.0], 3), ([5.0, None, 60.0], 60), ([1e9], 86_400)])
def test_no_retry_comes_sooner_than_it_was_asked_to(asked: list[float | None], delay: float) -> None:
    claim = held(len(asked) + 1, max_attempts=2)
    claim.fail(claim.start(), ValueError("at once"))
    for seconds in asked:
        claim.fail(claim.start(), AttemptFailedError("later", retry_after=seconds))
    assert claim.report().delay == delay


def test_one_report_has_no_part_in_the_delay_of_the_next() -> None:
    claim = held(2, max_attempts=2)
    claim.fail(claim.start(), AttemptFailedError("later", retry_after=60))
    assert claim.report().delay == 60
    claim.confirm()
    claim.fail(claim.start(), ValueError("at once"))
    assert claim.report().delay == 3


def test_a_failure_may_have_a_type_of_its_own() -> None:
    claim = held(2)
    claim.fail(claim.start(), AttemptFailedError("no", error_type="OutOfStock"))
    claim.fail(claim.start(), JobFailedError("no"))
    assert [failure.error_type for failure in claim.report().failures or ()] == ["OutOfStock", "JobFailedError"]
