"""Texts of others as a terminal or a log may have them: nothing in them steers it."""

from __future__ import annotations

_STEERING = (
    *range(0x20),
    *range(0x7F, 0xA0),
    # Line ends of Unicode, and marks that turn the direction of what follows.
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
_WRITTEN_OUT = {number: f"\\u{number:04x}" for number in _STEERING}
_BUT_LINES = {number: text for number, text in _WRITTEN_OUT.items() if chr(number) not in "\n\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control characters as JSON has them, such as \u001b; `lines` keeps line ends and tabs."""
    return text.translate(_BUT_LINES if lines else _WRITTEN_OUT)
