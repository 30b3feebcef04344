"""The books of one claim in the hands of a worker: which jobs have started, how they ended, what to report."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING

import msgspec

from hammerwork.backends.listing import merged
from hammerwork.backends.protocol import Failure, Settlement
from hammerwork.batch import MAX_RETRY_SECONDS, PartialFailureMode
from hammerwork.errors import AttemptFailedError, JobFailedError, error_type

if TYPE_CHECKING:
    from hammerwork.backends.protocol import Claim, Span

MAX_TYPE_BYTES = 200
MAX_MESSAGE_BYTES = 1_000
MAX_TRACEBACK_BYTES = 8_000
MAX_REPORT_TRACEBACK_BYTES = 2 * 1024 * 1024
"""Of all tracebacks in one report; failures beyond that have none. Bounds reports, and what a failing batch keeps."""

_ENDED = 1


class HeldClaim:
    """A claim and the fate of its jobs, which are known here by their offset from the claim's first one."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.size = len(claim.indexes)
        self.cursor = 0
        """Offset of the next job to start."""
        self.open = self.size
        """Jobs without an outcome."""
        self.since = time.monotonic()
        self.lost = False
        self.report_bytes = 0
        """Of the errors' texts in the report that waits for its confirmation."""
        self._fates = bytearray(self.size)
        self._reported_open = self.size
        self._report: Settlement | None = None
        self._clear()

    def _clear(self) -> None:
        self._completed = 0
        self._failed = 0
        self._failures: list[Failure] = []
        self._traceback_bytes = 0
        self._message_bytes = 0
        self._retries: list[int] = []
        self._retry_after = 0.0
        self._released: list[int] = []

    @property
    def waiting(self) -> int:
        """Jobs that have not started."""
        return self.size - self.cursor

    def start(self) -> int:
        """Take the next job; returns its offset."""
        offset = self.cursor
        self.cursor = offset + 1
        return offset

    def complete(self, offset: int) -> None:
        """Note that the job succeeded."""
        self._fates[offset] = _ENDED
        self._completed += 1
        self.open -= 1

    def fail(self, offset: int, error: BaseException) -> bool:
        """Note that the attempt failed; returns whether the job has failed for good."""
        claim = self.claim
        final = isinstance(error, JobFailedError) or claim.attempt >= claim.max_attempts
        collect = claim.failure_mode is PartialFailureMode.COLLECT_ERRORS
        if final or collect:
            trace = b""
            if collect and self._traceback_bytes < MAX_REPORT_TRACEBACK_BYTES:
                trace = _storable(_trace(error))[-MAX_TRACEBACK_BYTES:]  # the end tells most
                self._traceback_bytes += len(trace)
            message = _storable(_message(error))[:MAX_MESSAGE_BYTES]
            self._message_bytes += len(message)
            self._failures.append(
                Failure(
                    idx=claim.indexes[offset],
                    attempt=claim.attempt,
                    final=final,
                    error_type=_cut(_storable(error_type(error)), MAX_TYPE_BYTES),
                    message=message.decode(errors="ignore"),
                    traceback=trace.decode(errors="ignore") or None,
                )
            )
        if final:
            self._failed += 1
        else:
            self._retries.append(claim.indexes[offset])
            if isinstance(error, AttemptFailedError) and error.retry_after is not None:
                self._retry_after = max(self._retry_after, min(error.retry_after, MAX_RETRY_SECONDS))
        self._fates[offset] = _ENDED
        self.open -= 1
        return final

    def release(self, offset: int) -> None:
        """Give a job back that was started but must not be counted as run."""
        self._fates[offset] = _ENDED
        self._released.append(self.claim.indexes[offset])
        self.open -= 1

    def release_waiting(self) -> int:
        """Give all jobs back that have not started; returns how many."""
        given = self.waiting
        while self.cursor < self.size:
            self.release(self.start())
        return given

    def has_news(self) -> bool:
        """Whether outcomes wait to be reported."""
        return self._report is not None or self.open < self._reported_open

    def report(self) -> Settlement:
        """Return the outcomes since the last confirmed report. The same report again until it is confirmed."""
        if self._report is None:
            self._report = Settlement(
                claim=self.claim.id,
                open=self._reported_open,
                completed=self._completed,
                failed=self._failed,
                failures=self._failures or None,
                retries=merged(sorted(self._retries)) or None,
                # One for all retries of the report: none of them comes sooner than it was asked to.
                delay=max(self.claim.retry_policy.delay(self.claim.attempt), self._retry_after)
                if self._retries
                else 0.0,
                released=merged(sorted(self._released)) or None,
                remaining=self._remaining() if self.open else None,
            )
            self.report_bytes = self._traceback_bytes + self._message_bytes
            self._reported_open = self.open
            self._clear()
        return self._report

    def simplify(self, reason: str) -> bool:
        """Write the errors' texts, which the database may refuse, in ASCII; the next time leave them out.

        Returns:
            False if the report has no such texts (any more).
        """
        report = self.report()
        if not report.failures or all(failure.error_type == "Unstorable" for failure in report.failures):
            return False
        plain = [_plain(failure) for failure in report.failures]
        if plain == report.failures:
            text = _cut(_ascii(f"the error could not be stored: {reason}"), 500)
            plain = [
                msgspec.structs.replace(failure, error_type="Unstorable", message=text, traceback=None)
                for failure in report.failures
            ]
        report.failures = plain
        return True

    def confirm(self) -> bool:
        """Note that the last report has arrived; returns whether the claim has ended with it."""
        assert self._report is not None
        ended = self._report.remaining is None
        self._report = None
        return ended

    def _remaining(self) -> list[Span]:
        indexes = self.claim.indexes
        return merged(indexes[offset] for offset, fate in enumerate(self._fates) if fate != _ENDED)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 (an exception class of the user's code)
        return f"<message of {type(error).__name__} cannot be printed: {type(fault).__name__}>"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _storable(text: str) -> bytes:
    """Return text that any database takes, as UTF-8: no NUL, no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")


def _plain(failure: Failure) -> Failure:
    """Return a failure with its texts in ASCII."""
    trace = _ascii(failure.traceback or "")[-MAX_TRACEBACK_BYTES:].decode()
    return msgspec.structs.replace(
        failure,
        error_type=_cut(_ascii(failure.error_type), MAX_TYPE_BYTES),
        message=_cut(_ascii(failure.message), MAX_MESSAGE_BYTES),
        traceback=trace or None,
    )


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")


def _cut(text: bytes, most: int) -> str:
    """Return the beginning of a text, at most so many bytes of it."""
    return text[:most].decode(errors="ignore")
