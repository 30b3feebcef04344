"""Which words of a query MySQL and MariaDB are not given; tests/database has real servers."""

from __future__ import annotations

import pytest

from hammerwork import QueryError
from hammerwork.backends.mysql.permitted import check_permitted


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT 1 FROM a for\n/* x */ -- y\n# z\n Update", "FOR UPDATE is not allowed"),
        ("SELECT 1 FROM a FOR SHARE OF a SKIP LOCKED", "FOR SHARE is not allowed"),
        ("SELECT 1 FROM a LOCK/**/IN SHARE MODE", "LOCK IN is not allowed"),
        ("SELECT 1 INTO@x", "INTO is not allowed"),
        ("SELECT 'a'INTO DUMPFILE 'b'", "INTO is not allowed"),
        # What looks like the beginning of a text or a comment, and is none.
        ("SELECT '\\\\' FROM a FOR SHARE -- '", "FOR SHARE is not allowed"),
        ("SELECT 'it''s' FROM a FOR SHARE -- '", "FOR SHARE is not allowed"),
        ("SELECT `\\` FROM a FOR SHARE -- `", "FOR SHARE is not allowed"),
        ("SELECT 1--1 FROM a FOR SHARE", "FOR SHARE is not allowed"),
        ("SELECT 1--\u00a0FROM a FOR SHARE", "FOR SHARE is not allowed"),
        ("SELECT 1 --\x01 '\n FROM a FOR SHARE -- '", "FOR SHARE is not allowed"),
        ("SELECT 1 /* ' */ FROM a FOR SHARE /* ' */", "FOR SHARE is not allowed"),
        ("SELECT 1 /*!99999 ' */ FROM a FOR SHARE /* ' */", "a comment that the server reads (/*!)"),
        ("SELECT /*+ QB_NAME(`*/`) */ 1 FROM a FOR SHARE /* ` */", "a comment that the server reads (/*+)"),
        ("SELECT 1 /*M!100100 FOR SHARE */", "a comment that the server reads (/*M!)"),
    ],
)
def test_what_locks_or_writes_is_refused(sql: str, told: str) -> None:
    with pytest.raises(QueryError) as caught:
        check_permitted(sql)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'FOR UPDATE', \"it's \\\" INTO\", 'it\\'s /*! FOR SHARE', `LOCK IN` FROM a",
        "SELECT 1 -- FOR UPDATE '\n# INTO\n/* FOR SHARE ** */ FROM a --",
        "SELECT SUBSTRING(name FROM 1 FOR 2), for_update, INTO_x FROM a FORCE INDEX FOR JOIN (b)",
        "SELECT 1 FROM a WHERE b IN (2) AND x = 'LOCK",
    ],
)
def test_other_words_are_not(sql: str) -> None:
    check_permitted(sql)


@pytest.mark.parametrize("piece", ["'", '"', "`", "\\'", "/*", "/* *", "--", "-- ", "#", "a", " ", "FOR ", "'\\"])
def test_long_statements_are_read_once(piece: str) -> None:
    for start in ("", "'", "/*", "`"):
        check_permitted(f"SELECT {start}{piece * 100_000}")
