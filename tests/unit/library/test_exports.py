"""What `import hammerwork` gives: whoever takes a name away, or adds one, says so here and in the CHANGELOG."""

from __future__ import annotations

import hammerwork

NAMES = """
    AttemptFailedError BatchConflictError BatchNotFoundError BatchState BatchStatus DatabaseError DatabaseRefusedError
    DatabaseUnavailableError ErrorGroup HammerworkError HandlerError IncompatibleDatabaseError InvalidBatchError
    InvalidSelectionError Job JobBatch JobError JobFailedError JobQueue JobRecord JobStatus JobTimeoutError
    PartialFailureMode Priority QueryError QueueActivity QueueDepth QueueStatistics RetryPolicy
    RetryStrategy UnsupportedDatabaseError Worker WorkerInfo WorkerPool WorkerStats batch_handler
"""


def test_these_names_are_exported() -> None:
    assert hammerwork.__all__ == NAMES.split()
    assert [name for name in hammerwork.__all__ if not hasattr(hammerwork, name)] == []


def test_every_error_of_the_library_is_exported_but_the_one_of_damaged_rows() -> None:
    errors = {name for name, value in vars(hammerwork.errors).items() if isinstance(value, type)}
    assert errors - set(hammerwork.__all__) == {"PayloadMissingError"}
