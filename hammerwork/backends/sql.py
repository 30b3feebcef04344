"""SQL files beside the code that uses them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

PARAMETER = re.compile(r"(?<!:):([a-z][a-z_]*)")
"""A parameter of a statement, such as ``:batch``; but not the type of a cast, ``::text``."""

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def read_sql(package: str, path: str) -> str:
    """Return the text of a file of `package`."""
    return files(package).joinpath(path).read_text(encoding="utf-8")


@cache
def read_queries(package: str) -> dict[str, str]:
    """Return the statements of all files in sql/ of `package` by name; each one follows a line ``-- name: NAME``."""
    named: dict[str, str] = {}
    for path in list_sql(package, "sql"):
        _, *parts = _NAME.split(read_sql(package, path))
        named |= {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return named


def read_preamble(package: str, path: str) -> str:
    """Return what stands in a file before its first named statement."""
    return _NAME.split(read_sql(package, path))[0]


@cache
def list_sql(package: str, folder: str) -> tuple[str, ...]:
    """Return the paths of the .sql files in a folder of `package`, in order of their names."""
    return tuple(
        sorted(
            f"{folder}/{file.name}" for file in files(package).joinpath(folder).iterdir() if file.name.endswith(".sql")
        )
    )
