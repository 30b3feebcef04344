"""What is known of a JobBatch beside the object itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hammerwork import BatchStatus, ErrorGroup
from hammerwork_operator.jobbatch.dependencies import Dependencies
from hammerwork_operator.jobbatch.speed import Speed
from hammerwork_operator.kube.situation import Obstacle


class Load(msgspec.Struct, frozen=True):
    """The loading of a batch's jobs by this process."""

    jobs: int = 0
    """Stored so far."""
    waits: str | None = None
    """What it waits for before it begins."""
    failure: str | None = None
    """Why the jobs cannot be loaded, whatever happens; None while they are being loaded."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the database and this process say of a batch."""

    row: BatchStatus | None = None
    """The batch in the database; None: it is not there, or not known because of `obstacle`."""
    obstacle: Obstacle | None = None
    """Why the database cannot be used."""
    of_former: bool = False
    """The database has the batch under the id that an older operator gave it; all else is to be asked again."""
    met: Obstacle | None = None
    """What the last step failed at that is tried again; None once one has succeeded."""
    load: Load | None = None
    dependencies: Dependencies = Dependencies()
    served: bool | None = None
    """Whether the jobs of a batch that runs have workers, or will have; None: not known, or it does not run."""
    speed: Speed | None = None
    """None: not known, or nothing runs."""
    errors: Sequence[ErrorGroup] | None = None
    """None: not known."""
    content: str | None = None
    """The digest of what is in the batch's ConfigMaps, where it was asked for."""
