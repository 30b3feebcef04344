"""Gathers the facts of a JobBatchSchedule from the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_operator.api.jobbatch import PLURAL
from hammerwork_operator.api.names import LABEL_SCHEDULE
from hammerwork_operator.schedule.facts import Child, child_of, owner_of

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.schedule.observed import ObservedSchedule


async def children_of(server: ApiServer, observed: ObservedSchedule) -> tuple[Child, ...]:
    """Return the JobBatches that the schedule owns.

    They are listed, not taken from the watch: whether a batch runs must be known before another is started, and a watch
    may be late. One that the status has as active, and that is not in the list, is asked for: its label may have been
    taken off.

    Raises:
        ApiError: The API server does not answer.
    """
    selector = f"{LABEL_SCHEDULE}={observed.name}"
    listed = [batch async for batch in server.chosen(PLURAL, observed.namespace, selector) if _is_of(observed, batch)]
    found = {child.uid: child for child in map(child_of, listed)}
    for reference in observed.status.get("active") or ():
        if reference["uid"] not in found:
            batch = await server.get(PLURAL, observed.namespace, reference["name"])
            if batch is not None and _is_of(observed, batch):
                child = child_of(batch)
                found[child.uid] = child
    return tuple(found.values())


def _is_of(observed: ObservedSchedule, batch: Manifest) -> bool:
    return owner_of(batch) == (observed.name, observed.uid)
