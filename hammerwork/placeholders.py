"""The language of placeholders, ``{{ NAME }}`` or ``{{ NAME.PATH }}`` in a text: one for payloads and for arguments.

Which names there are, and what they stand for, is up to whoever has the text. There is no code in it. ``{{ {{ }}`` is a
literal ``{{``; ``}}`` alone is a text like any other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPEN = "{{"
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
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
    parts = _PLACEHOLDER.split(text)
    texts, found = [_plain(parts[0])], []
    for inner, after in zip(parts[1::2], parts[2::2], strict=True):
        if inner.strip() == _OPEN:
            texts[-1] += _OPEN + _plain(after)
        else:
            found.append(_named(inner, names))
            texts.append(_plain(after))
    return texts, found


def is_in(text: str) -> bool:
    """Return whether there is a placeholder in a text, of whatever name."""
    return _PLACEHOLDER.search(text) is not None


def _plain(text: str) -> str:
    if _OPEN in text:
        rest = _shown(text[text.index(_OPEN) :])
        raise PlaceholderError(f"the placeholder {rest!r} is not closed; a literal '{{{{' is written '{{{{ {{{{ }}}}'")
    return text


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
    return _PLACEHOLDER.sub(lambda found: value if found[1].strip() == name else found[0], text)


def tightened(text: str) -> str:
    """Return the text without spaces in placeholders, so that a shell's rules for words leave each of them whole."""
    return _PLACEHOLDER.sub(lambda found: f"{{{{{found[1].strip()}}}}}", text)


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
