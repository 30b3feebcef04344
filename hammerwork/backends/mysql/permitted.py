"""What a query of the user's may say: words that a read-only transaction of MySQL and MariaDB lets lock or write."""

from __future__ import annotations

import re

from hammerwork.errors import QueryError

# In the SQL mode of our sessions: a backslash escapes in texts, and double quotes are those of texts.
_TOKEN = re.compile(
    r"""
    '(?:[^'\\]|\\.)*+'? | "(?:[^"\\]|\\.)*+"? | `[^`]*+`?
    | (?P<skipped> [\x00-\x20]++ | (?:--(?=[\x00-\x20\x7f]|\Z)|\#)[^\n]*+ | /\*(?!M?!|\+)(?:[^*]|\*(?!/))*+(?:\*/)? )
    | (?P<comment> /\*(?:M?!|\+) )
    | (?P<word> [A-Za-z0-9_$\x80-\U0010ffff]++ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_LOCKING = {("FOR", "UPDATE"), ("FOR", "SHARE"), ("LOCK", "IN")}


def check_permitted(sql: str) -> None:
    """Raise `QueryError` if the statement would write a file, set a variable or lock rows, or hides what it does.

    Words within texts, quoted names and comments do not count. The time that it takes grows with the length only.
    """
    before = ""
    for token in _TOKEN.finditer(sql):
        if token["skipped"]:
            continue
        if token["comment"]:
            raise QueryError(f"a comment that the server reads ({token['comment']}) is not allowed")
        word = (token["word"] or "").upper()
        if word == "INTO":
            raise QueryError("INTO is not allowed: a query only reads")
        if (before, word) in _LOCKING:
            raise QueryError(f"{before} {word} is not allowed: a query locks no rows")
        before = word
