"""What this process knows of one JobBatch. Nothing of it matters after a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hammerwork_operator.kube.statuses import Pace

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.gathering import Gatherer
    from hammerwork_operator.jobbatch.loading import Loading
    from hammerwork_operator.jobbatch.observed import ObservedBatch
    from hammerwork_operator.jobbatch.speed import Progress


@dataclass
class Memory:
    """The object as seen last, and who works for it."""

    observed: ObservedBatch
    gatherer: Gatherer
    loading: Loading
    progress: Progress = ()
    doubted: bool = False
    """The watch has brought an older version of the object: it is to be read."""
    pace: Pace = field(default_factory=Pace)
    written: dict[str, Any] = field(default_factory=dict)
    """The status that is being written, or was written last."""
    edited: bool = False
    """Somebody else has written the status."""

    def rest(self) -> None:
        """Neither follow the batch nor load it any longer, until there is something to do again."""
        self.gatherer.rest()
        self.loading.cancel()
