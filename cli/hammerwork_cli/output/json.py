"""Results as JSON, for programs: keys are camelCase in all commands, but for those that users choose."""

from __future__ import annotations

import msgspec

from hammerwork.printable import printable


def encode(value: object) -> str:
    """Return `value` as indented JSON."""
    return printable(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), lines=True)
