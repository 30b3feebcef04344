"""What a source of jobs is: one way for a JobBatch's spec to say which jobs there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hammerwork import Job
from hammerwork_operator.api.sources import ConfigMapRef

if TYPE_CHECKING:
    from hammerwork_operator.api.jobbatch import JobBatchSpec

Jobs = list[Job] | Iterator[Job] | AsyncIterator[Job]
"""A list may have several priorities: it is stored as a whole and put in order. An iterator is stored as it comes."""


class Contents(msgspec.Struct, frozen=True):
    """A need: the contents of keys of ConfigMaps. They are part of what the batch is."""

    refs: tuple[ConfigMapRef, ...]


class Query(msgspec.Struct, frozen=True):
    """A need: the rows of a query on the queue's database, as objects of JSON. They may be others the next time."""

    sql: str
    timeout_seconds: int


Need = Contents | Query
"""What has to be fetched before there are jobs. Whoever loads does it, since modules of this folder do nothing."""

Fetched = AsyncIterator[Any]
"""What was fetched: of `Contents`, each content (bytes) in the order of the refs; of `Query`, each row (a dict)."""


class InvalidSourceError(ValueError):
    """The spec does not describe jobs; the message names the field."""


class Source(Protocol):
    """A module of this folder."""

    @property
    def FIELD(self) -> str:  # noqa: N802 (a constant of the module)
        """Name of its field in spec, as manifests spell it."""

    @property
    def RULES(self) -> Sequence[dict[str, str]]:  # noqa: N802
        """Rules of the CRD for spec that hold for this source, in the form of x-kubernetes-validations."""

    def count(self, given: object) -> int | None:
        """Return how many jobs the field stands for, as the manifest has it and not checked yet.

        It is 0 if the field breaks a rule, None if the number is known only when the jobs have been loaded.
        """

    def need(self, given: Any) -> Need | None:
        """Return what has to be fetched for the jobs of the field; None if they follow from it alone."""

    def jobs(self, spec: JobBatchSpec, given: Any, fetched: Fetched | None) -> Jobs:
        """Return the jobs of the field.

        Args:
            spec: The whole spec.
            given: The field.
            fetched: What `need` asks for, or None if that is None.

        Raises:
            InvalidSourceError: The field breaks a rule, at once; or what was fetched does, when its turn comes.
        """
