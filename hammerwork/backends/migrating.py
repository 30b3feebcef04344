"""Which migrations a database needs, how long they wait for others, and whether this version may work there. No I/O."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import DatabaseUnavailableError, IncompatibleDatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

VERSION = 5
"""Of what the database and this code say to each other. Grows by one with each migration or changed function."""

FUNCTIONS = "functions"
"""Name in the ledger of all functions together."""

LOCK_SECONDS = 5
"""So long a migration waits for a lock, with everybody who comes later behind it; then it tries again."""
PAUSE_SECONDS = 1.0
"""Before it tries again: whoever waited behind it goes on first."""
MIGRATION_SECONDS = 600.0
"""So long it goes on to try."""

_LEAST = re.compile(r"^-- least version: (\d+)$", re.MULTILINE)


class Applied(msgspec.Struct, frozen=True):
    """A row of the ledger."""

    version: int
    """Of the process that applied it."""
    least: int
    """Processes of an older version must not work on the database any more."""
    checksum: str


class Wanted(msgspec.Struct, frozen=True):
    """A text that is to be applied to the database."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def least(self) -> int:
        """Least version that can work on the database afterwards: in the text as ``-- least version: N``, else 1."""
        found = _LEAST.search(self.text)
        return int(found[1]) if found else 1


def missing(address: str, wanted: Collection[Wanted], ledger: Mapping[str, Applied], *, version: int) -> list[Wanted]:
    """Return what is to be applied, in order. What a newer version has put there is left alone.

    Raises:
        IncompatibleDatabaseError: A newer version has changed the database in a way that this one cannot work with.
    """
    least = max((applied.least for applied in ledger.values()), default=None)
    newest = max((applied.version for applied in ledger.values()), default=None)
    refuse_outdated(address, least, newest=newest, version=version)
    return [
        text
        for text in wanted
        if (there := ledger.get(text.name)) is None
        or (text.name == FUNCTIONS and there.version <= version and there.checksum != text.checksum)
    ]


def outdated(
    address: str, least: int | None, *, newest: int | None, version: int = VERSION
) -> IncompatibleDatabaseError | None:
    """Return the error if `version` must not work on the database any more; else None.

    Args:
        address: What messages call the database.
        least: The greatest `least` of its ledger; None: there is nothing in it.
        newest: The greatest version of its ledger.
        version: Of this code.
    """
    if least is None or least <= version:
        return None
    return IncompatibleDatabaseError(
        f"database {address}: its tables are of version {newest}, which version {least} or later can work with; "
        f"this is version {version}: upgrade hammerwork here"
    )


def refuse_outdated(address: str, least: int | None, *, newest: int | None, version: int = VERSION) -> None:
    """Raise the error of `outdated`, if there is one."""
    error = outdated(address, least, newest=newest, version=version)
    if error is not None:
        raise error


async def in_turns(attempt: Callable[[], Awaitable[None]], *, locked: str | int) -> None:
    """Call `attempt` until it has met no lock that others keep for more than `LOCK_SECONDS`.

    Args:
        attempt: Applies what is missing, with a limit of `LOCK_SECONDS` for each lock; called again, it goes on.
        locked: The server's code of a lock that it did not get.

    Raises:
        DatabaseUnavailableError: The lock was not to be had within `MIGRATION_SECONDS`, or something else failed.
    """
    deadline = time.monotonic() + MIGRATION_SECONDS
    while True:
        try:
            return await attempt()
        except DatabaseUnavailableError as error:
            if error.code != locked or time.monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


def old_tables(address: str) -> IncompatibleDatabaseError:
    """Return the error for tables of the time before the first release."""
    return IncompatibleDatabaseError(
        f"database {address}: its hammerwork tables are of a version before the first release, and cannot be upgraded; "
        "let its batches finish with that version, then drop all tables whose names begin with hammerwork_ and run "
        "`hammerwork migrate`"
    )
