"""Texts that would steer a terminal, a log or a table if they were shown as they are."""

from __future__ import annotations

import unicodedata

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \r over \x08\x7f \u202edekcart\u202c \u2028"
    "[/red] [bold]'; DROP TABLE x; -- \""
)
"""Colour, title, a screen that is cleared, a line written over, text that runs backwards, markup of a library, SQL."""


def steering(text: str, *, but: str = "\n") -> set[str]:
    """Return the characters of a text that do something else than to be read."""
    kinds = {"Cc", "Zl", "Zp"}
    return {
        character
        for character in text
        if character not in but and (unicodedata.category(character) in kinds or 0x202A <= ord(character) <= 0x202E)
    }
