"""What is known of a JobBatch beside the object itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hammerwork import BatchStatus, ErrorGroup
from hammerwork_operator.api.reasons import Reason


class Trouble(msgspec.Struct, frozen=True):
    """Why the database cannot be used now."""

    reason: Reason
    message: str
    passing: bool
    """True: it may pass by itself (the database is away). False: a person has to do something (no Secret)."""


class Load(msgspec.Struct, frozen=True):
    """The loading of a batch's jobs by this process."""

    running: bool = True
    jobs: int = 0
    """Stored so far."""
    failure: tuple[Reason, str] | None = None
    """Reason and message, if the jobs cannot be loaded whatever happens."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the database and this process say of a batch."""

    row: BatchStatus | None = None
    """The batch in the database; None: it is not there, or not known because of `trouble`."""
    trouble: Trouble | None = None
    load: Load | None = None
    errors: Sequence[ErrorGroup] | None = None
    """None: not asked for lately."""
