"""Which migrations a database needs, and whether this version may work on it. No I/O."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import IncompatibleDatabaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

VERSION = 1
"""Of what the database and this code say to each other. Grows by one with each migration or changed function."""

FUNCTIONS = "functions"
"""Name in the ledger of all functions together."""

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
    least = max((applied.least for applied in ledger.values()), default=0)
    if least > version:
        raise IncompatibleDatabaseError(
            f"database {address}: its tables are of version {max(a.version for a in ledger.values())}, which version "
            f"{least} or later can work with; this is version {version}: upgrade hammerwork here"
        )
    return [
        text
        for text in wanted
        if (there := ledger.get(text.name)) is None
        or (text.name == FUNCTIONS and there.version <= version and there.checksum != text.checksum)
    ]


def old_tables(address: str) -> IncompatibleDatabaseError:
    """Return the error for tables of the time before the first release."""
    return IncompatibleDatabaseError(
        f"database {address}: its hammerwork tables are of a version before the first release, and cannot be upgraded; "
        "let its batches finish with that version, then drop all tables whose names begin with hammerwork_ and run "
        "`hammerwork migrate`"
    )
