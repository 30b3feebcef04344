"""Gathers the facts of a JobBatchSchedule from the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_operator.api.jobbatch import PLURAL
from hammerwork_operator.api.names import LABEL_SCHEDULE
from hammerwork_operator.schedule.facts import Child, child_of, owner_of

if TYPE_CHECKING:
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.schedule.observed import ObservedSchedule


async def children_of(server: ApiServer, observed: ObservedSchedule) -> tuple[Child, ...]:
    """Return the JobBatches that the schedule owns.

    They are listed, not taken from the watch: whether a batch runs must be known before another is started, and a watch
    may be late.

    Raises:
        ApiError: The API server does not answer.
    """
    selector = f"{LABEL_SCHEDULE}={observed.name}"
    return tuple(
        [
            child_of(batch)
            async for batch in server.chosen(PLURAL, observed.namespace, selector)
            if owner_of(batch) == (observed.name, observed.uid)
        ]
    )
