"""The language of placeholders, ``{{ NAME }}`` or ``{{ NAME.PATH }}`` in a text: one for payloads and for arguments.

Which names there are, and what they stand for, is up to whoever has the text. There is no code in it.
"""

from __future__ import annotations

import re
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def split(text: str) -> tuple[list[str], list[str]]:
    """Return the texts around the placeholders, and what stands in their braces; there is one more text than those.

    ``"a-{{ index }}.png"`` gives ``["a-", ".png"]`` and ``[" index "]``.
    """
    parts = _PLACEHOLDER.split(text)
    return parts[::2], parts[1::2]


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
