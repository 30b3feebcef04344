"""What the CRDs' rules say when they refuse: the value that was given beside the limit.

Rules are in the form of x-kubernetes-validations, in the CEL of Kubernetes 1.30. `message` is what the API server says
where it cannot evaluate the `messageExpression`, or gets a text of more than 5 KiB or several lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN_CHARACTERS = 100
"""Of a text that is too long."""


def said(text: str, *values: str) -> str:
    """Return the CEL expression of a text in which each %s is replaced by a value: an expression that is a string.

    The API server takes it, and not the same with `+`: it knows no bound for the length of what is made of a number, so
    the estimated cost of joining it has none either.
    """
    return f"'{text}'.format([{', '.join(values)}])"


def shown(text: str) -> str:
    """Return the CEL expression of a text in quotes, cut off where it is long; `text` is a name or a path."""
    cut = f"{text}.size() > {SHOWN_CHARACTERS} ? {text}.substring(0, {SHOWN_CHARACTERS}) : {text}"
    return f"strings.quote({cut})"


def exactly_one(fields: Sequence[str]) -> dict[str, str]:
    """Return the rule that just one of these fields is given."""
    number = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    names = " + ".join(f"(has(self.{field}) ? '{field} ' : '')" for field in fields)
    return {
        "rule": f"{number} == 1",
        "message": f"exactly one of {listed(fields)} must be given",
        "messageExpression": said(
            f"%s given, must be exactly one of {listed(fields)}",
            f"{number} == 0 ? 'none' : ({names}).trim().replace(' ', ' and ')",
        ),
    }


def check_exactly_one(fields: Mapping[str, object]) -> None:
    """Raise `ValueError`, in the words of that rule, unless just one of the fields is given, that is not UNSET."""
    given = [name for name, value in fields.items() if value is not UNSET]
    if len(given) != 1:
        raise ValueError(f"{' and '.join(given) or 'none'} given, must be exactly one of {listed(list(fields))}")


def listed(names: Sequence[str]) -> str:
    """Return the names as a sentence has them: a, b and c."""
    *all_but_last, last = names or [""]
    return f"{', '.join(all_but_last)} and {last}" if all_but_last else last
