"""What an Event says, and of which object: values, without the writing of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hammerwork_operator.api.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Note:
    """An event to record."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The object that an event is about."""

    kind: str
    namespace: str
    name: str
    uid: str
