"""The errors of the library.

Those of the programs derive from `HammerworkError` too; arguments out of range raise ValueError. Messages name
the object, the field, the value and the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class HammerworkError(Exception):
    """Base of all errors of this package."""


class InvalidBatchError(HammerworkError, ValueError):
    """The batch or one of its jobs breaks a rule; nothing of it was stored."""


class BatchNotFoundError(HammerworkError, LookupError):
    """No batch has this id: it was never enqueued, or it was deleted."""

    def __init__(self, batch_id: UUID) -> None:
        super().__init__(f"batch {batch_id}: not found")
        self.batch_id = batch_id


class BatchConflictError(HammerworkError):
    """The id is taken by a batch with another content, or the operation does not fit the batch's state."""


class InvalidSelectionError(HammerworkError, ValueError):
    """Which jobs are meant cannot be understood; nothing was done."""


class QueryError(HammerworkError):
    """A query of the user's cannot be made or read, or takes too long. What the server said is in the message."""


class DatabaseError(HammerworkError):
    """The database, or the way to it, failed. What the driver said is in the message and is the `__cause__`.

    `code` is the server's: five characters (SQLSTATE) from PostgreSQL, a number from MySQL and MariaDB; None if the
    server has not said anything.
    """

    code: str | int | None = None


class DatabaseUnavailableError(DatabaseError, ConnectionError):
    """The database did not answer, or the connection broke. The operation may be tried again."""


class DatabaseRefusedError(DatabaseError):
    """The database refuses, and waiting does not help: a right, a schema, a password, an option, a certificate."""


class UnsupportedDatabaseError(DatabaseRefusedError, ValueError):
    """The URL cannot be used, its driver is not installed, or the server or the database is of a kind not supported."""


class IncompatibleDatabaseError(DatabaseRefusedError):
    """The tables in the database are of a version that this one cannot work with."""


EXIT_BAD_CONFIGURATION = 2
"""Exit code of programs whose settings cannot be used, or whose database refuses them."""

EXIT_INCOMPATIBLE = 3
"""Exit code of programs that an `IncompatibleDatabaseError` ends; to start them again does not help."""


class HandlerError(HammerworkError):
    """The user's handler cannot be loaded or has the wrong shape."""


class AttemptFailedError(HammerworkError):
    """Raised by a handler that had a command or a service run the job, and was told that the attempt failed.

    `error_type` is the type that the failure is recorded with; by default it is the name of the exception's class.
    `retry_after` is how many seconds the next attempt has to wait at least.
    """

    def __init__(self, message: str = "", *, error_type: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type or type(self).__name__
        self.retry_after = retry_after


class JobFailedError(HammerworkError):
    """Raised by a handler to fail its job for good: no further attempt is made.

    `error_type` is the type that the failure is recorded with; by default it is the name of the exception's class.
    """

    def __init__(self, message: str = "", *, error_type: str | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type or type(self).__name__


def error_type(error: BaseException) -> str:
    """Return the type that a failure by this error is recorded with."""
    return error.error_type if isinstance(error, AttemptFailedError | JobFailedError) else type(error).__name__


class PayloadMissingError(JobFailedError):
    """The database has not as many payloads as jobs; somebody has removed rows. The jobs have failed for good."""


class JobTimeoutError(HammerworkError, TimeoutError):
    """The job ran longer than its batch allows. Counts as a failed attempt."""
