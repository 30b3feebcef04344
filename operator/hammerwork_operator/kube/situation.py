"""Where an object of any kind stands: ready, on its way, or stuck. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import condition

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = dict[str, Any]
"""The status of an object, as its manifest has it."""


class Obstacle(msgspec.Struct, frozen=True):
    """What keeps the operator from its next step, or a Pod from its work."""

    reason: Reason
    message: str
    passing: bool = False
    """True: it may pass by itself (the database is unreachable). False: a person has to do something (no Secret)."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table of situations, see docs/kubernetes-api.md."""

    ready: bool | None
    """None: not known."""
    reason: Reason
    message: str
    reconciling: bool = False
    stalled: bool = False

    @classmethod
    def behind(cls, obstacle: Obstacle) -> Self:
        """Return the situation of an object that has the obstacle before it."""
        return cls(
            ready=False,
            reason=obstacle.reason,
            message=obstacle.message,
            reconciling=obstacle.passing,
            stalled=not obstacle.passing,
        )

    def conditions(self) -> list[conditions.ConditionDict]:
        """Return Ready, Reconciling and Stalled, as kstatus reads them."""
        return [
            condition(Type.READY, self.ready, self.reason, self.message),
            condition(Type.RECONCILING, self.reconciling, self.reason, self.message if self.reconciling else ""),
            condition(Type.STALLED, self.stalled, self.reason, self.message if self.stalled else ""),
        ]


def ready(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the condition Ready of a status, or None."""
    return conditions.find(status.get("conditions"), Type.READY)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the condition Ready of the later status if its reason is another one than before, else None."""
    old, new = ready(before), ready(after)
    return None if new is None or (old is not None and old["reason"] == new["reason"]) else new
