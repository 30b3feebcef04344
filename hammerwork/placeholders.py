"""The language of placeholders, ``{{ NAME }}`` or ``{{ NAME.PATH }}`` in a text: one for payloads and for arguments.

Which names there are, and what they stand for, is up to whoever has the text. There is no code in it. ``{{ {{ }}`` is a
literal ``{{``; ``}}`` alone is a text like any other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_OPEN = "{{"
_CLOSE = "}}"
_SHOWN_CHARACTERS = 60


class PlaceholderError(ValueError):
    """A text has a placeholder that cannot be used; the message says which one, not where the text is."""


class Placeholder(NamedTuple):
    """What stands between two texts."""

    name: str
    """One of those that there are."""
    path: list[str]
    """What follows the name, if anything may."""

    def __str__(self) -> str:
        return f"'{{{{ {'.'.join([self.name, *self.path])} }}}}'"


def parse(text: str, names: Mapping[str, bool]) -> tuple[list[str], list[Placeholder]]:
    """Return the texts around the placeholders, and these; there is one more text than placeholders.

    ``"a-{{ index }}.png"`` gives ``["a-", ".png"]`` and ``[Placeholder("index", [])]``.

    Args:
        text: The text.
        names: The names that there are, and for each whether it may have a path.

    Raises:
        PlaceholderError: A placeholder has another name, or is not closed.
    """
    parts = _split(text)
    texts, found, pieces = [], [], [parts[0]]
    for inner, after in zip(parts[1::2], parts[2::2], strict=True):
        if inner.strip() == _OPEN:
            pieces += (_OPEN, after)
        else:
            found.append(_named(inner, names))
            texts.append("".join(pieces))
            pieces = [after]
    _check_is_closed(parts[-1])
    return [*texts, "".join(pieces)], found


def is_in(text: str) -> bool:
    """Return whether there is a placeholder in a text, of whatever name."""
    return len(_split(text)) > 1


def _split(text: str) -> list[str]:
    """Return the texts around what stands in braces, and between two of them that, as it is.

    It takes a time in proportion to the text: what opens and is never closed is not looked at again from each brace.
    """
    parts: list[str] = []
    start = 0
    while (opens := text.find(_OPEN, start)) >= 0 and (closes := text.find(_CLOSE, opens + len(_OPEN))) >= 0:
        parts += (text[start:opens], text[opens + len(_OPEN) : closes])
        start = closes + len(_CLOSE)
    return [*parts, text[start:]]


def _check_is_closed(last: str) -> None:
    if _OPEN in last:
        rest = _shown(last[last.index(_OPEN) :])
        raise PlaceholderError(f"the placeholder {rest!r} is not closed; a literal '{{{{' is written '{{{{ {{{{ }}}}'")


def _named(inner: str, names: Mapping[str, bool]) -> Placeholder:
    whole = inner.strip()
    for name, has_path in names.items():
        if whole == name:
            return Placeholder(name, [])
        path = whole.removeprefix(f"{name}.").split(".")
        if has_path and whole.startswith(f"{name}.") and "" not in path:
            return Placeholder(name, path)
    raise PlaceholderError(f"unknown placeholder '{{{{{_shown(inner)}}}}}'; {_there_are(names)}")


def _there_are(names: Mapping[str, bool]) -> str:
    shown = [f"'{{{{ {name}{suffix} }}}}'" for name, has_path in names.items() for suffix in _suffixes(has_path)]
    if len(shown) == 1:
        return f"the only one is {shown[0]}"
    return f"there are {', '.join(shown[:-1])} and {shown[-1]}"


def _suffixes(has_path: bool) -> Sequence[str]:
    return (".PATH", "") if has_path else ("",)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def with_value(text: str, name: str, value: str) -> str:
    """Return the text with a value for the placeholders of one name; all else stays as it is, right or wrong."""
    return _replaced(text, lambda inner: value if inner.strip() == name else _OPEN + inner + _CLOSE)


def tightened(text: str) -> str:
    """Return the text without spaces in placeholders, so that a shell's rules for words leave each of them whole."""
    return _replaced(text, lambda inner: _OPEN + inner.strip() + _CLOSE)


def _replaced(text: str, replacement: Callable[[str], str]) -> str:
    parts = _split(text)
    parts[1::2] = map(replacement, parts[1::2])
    return "".join(parts)


def look_up(value: Any, path: list[str]) -> Any:
    """Return what is at `path` in a value as JSON has it, by keys of objects and positions in lists.

    Raises:
        LookupError: Nothing is there.
    """
    for step in path:
        if isinstance(value, dict):
            value = value[step]
        elif isinstance(value, list) and re.fullmatch("[0-9]{1,9}", step):
            value = value[int(step)]
        else:
            raise LookupError(step)
    return value


def as_text(value: Any) -> str:
    """Return what becomes of a value between texts: a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
