"""Which texts a process applies to a database, beside processes of other versions."""

from __future__ import annotations

import pytest

from hammerwork import DatabaseRefusedError
from hammerwork.backends.migrating import FUNCTIONS, Applied, Wanted, missing

TABLES = Wanted("001_tables.sql", "CREATE TABLE …")
MORE = Wanted("002_more.sql", "-- least version: 2\nALTER TABLE …")
OLD, NEW = Wanted(FUNCTIONS, "old"), Wanted(FUNCTIONS, "new")


def applied(*texts: Wanted, version: int) -> dict[str, Applied]:
    return {text.name: Applied(version=version, least=text.least, checksum=text.checksum) for text in texts}


@pytest.mark.parametrize(
    ("wanted", "ledger", "version", "expected"),
    [
        ([TABLES, OLD], {}, 1, [TABLES, OLD]),
        ([TABLES, OLD], applied(TABLES, OLD, version=1), 1, []),
        ([TABLES, MORE, NEW], applied(TABLES, OLD, version=1), 2, [MORE, NEW]),
        ([TABLES, OLD], applied(TABLES, NEW, version=2), 1, []),
        ([TABLES, NEW], applied(TABLES, OLD, version=1), 1, [NEW]),
    ],
    ids=["empty", "up to date", "upgrade", "newer functions stay", "same version, other text"],
)
def test_what_is_missing(
    wanted: list[Wanted], ledger: dict[str, Applied], version: int, expected: list[Wanted]
) -> None:
    assert missing("db", wanted, ledger, version=version) == expected


def test_a_process_that_is_too_old_is_refused() -> None:
    with pytest.raises(
        DatabaseRefusedError, match="only version 2 or later can work with its tables; this is version 1: upgrade"
    ):
        missing("db", [TABLES, OLD], applied(TABLES, MORE, NEW, version=2), version=1)
