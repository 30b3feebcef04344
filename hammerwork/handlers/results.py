"""What commands and services answer, as the result of a job."""

from __future__ import annotations

from typing import Any

import msgspec


def decoded(answer: bytes) -> Any:
    """Return what is written there if it is JSON, else the text without its last line end; None if there is nothing."""
    if not answer.strip():
        return None
    try:
        return msgspec.json.decode(answer)
    except (ValueError, RecursionError):
        return answer.decode(errors="replace").rstrip("\r\n")
