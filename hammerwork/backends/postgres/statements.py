"""Statements as asyncpg takes them: the texts of sql/, with numbers in place of the names of their parameters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from hammerwork.backends.sql import PARAMETER, read_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = "hammerwork.backends.postgres"


class Statement(NamedTuple):
    """One statement of sql/."""

    text: str
    """With $1, $2, … as parameters."""
    parameters: tuple[str, ...]
    """Their names, in this order."""

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values in the order of the parameters, all of which have to be there."""
        return [values[name] for name in self.parameters]


@cache
def statements() -> dict[str, Statement]:
    """Return the statements of all files in sql/ by their names."""
    return {name: numbered(text) for name, text in read_queries(PACKAGE).items()}


def numbered(text: str) -> Statement:
    """Return a text with the parameters that it names, such as ``:batch``, by their numbers."""
    names = tuple(dict.fromkeys(PARAMETER.findall(text)))
    return Statement(PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text), names)
