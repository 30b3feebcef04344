"""What a JobBatch says of the JobBatches that it depends on."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct

from hammerwork.batch import MAX_NAME_LENGTH

MAX_DEPENDENCIES = 32


class DependencyCondition(enum.Enum):
    """What has to hold of a dependency."""

    COMPLETE = "Complete"
    SUCCEEDED = "Succeeded"


class DependencySpec(Struct, frozen=True, rename="camel"):
    """A JobBatch of the same namespace that has to come to its end first."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_NAME_LENGTH,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="Name of a JobBatch in the same namespace.",
        ),
    ]
    condition: Annotated[
        DependencyCondition,
        Meta(
            description="What has to hold of it. Complete: all its jobs have run, however they ended. Succeeded: none "
            "of them failed."
        ),
    ] = DependencyCondition.COMPLETE
