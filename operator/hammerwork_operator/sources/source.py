"""What a source of jobs is: one way for a JobBatch's spec to say which jobs there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hammerwork import Job

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatch import JobBatchSpec

Jobs = list[Job] | Iterator[Job]
"""A list may have several priorities: it is stored as a whole and put in order. An iterator is stored as it comes."""


class InvalidSourceError(ValueError):
    """The spec does not describe jobs; the message names the field."""


class Source(Protocol):
    """A module of this folder."""

    @property
    def FIELD(self) -> str:  # noqa: N802 (a constant of the module)
        """Name of its field in spec; one word, so that manifests and Python spell it alike."""

    @property
    def RULES(self) -> Sequence[dict[str, str]]:  # noqa: N802
        """Rules of the CRD for spec that hold for this source, in the form of x-kubernetes-validations."""

    def count(self, given: object) -> int:
        """Return how many jobs the field, as the manifest has it and not checked yet, stands for; 0 if none."""

    def jobs(self, spec: JobBatchSpec, given: Any) -> Jobs:
        """Return the jobs of the field.

        Raises:
            InvalidSourceError: The field breaks a rule.
        """
