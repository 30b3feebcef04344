"""spec.query: a job for each row of a query on the queue's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from hammerwork import Job, Priority
from hammerwork_operator.api.sources import DEFAULT_QUERY_SECONDS, MAX_GENERATED_JOBS
from hammerwork_operator.sources.source import InvalidSourceError, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork_operator.api.jobbatch import JobBatchSpec
    from hammerwork_operator.api.sources import QuerySpec
    from hammerwork_operator.sources.source import Fetched

FIELD = "query"

RULES: tuple[dict[str, str], ...] = ()


def count(given: object) -> int | None:
    """Return that the number is not known before the last row has come."""
    return None if isinstance(given, dict) else 0


def need(given: QuerySpec) -> Query:
    """Return the query."""
    seconds = DEFAULT_QUERY_SECONDS if given.timeout_seconds is UNSET else given.timeout_seconds
    return Query(given.sql, seconds)


async def jobs(spec: JobBatchSpec, given: QuerySpec, fetched: Fetched | None) -> AsyncIterator[Job]:  # noqa: ARG001
    """Yield a job for each row.

    Raises:
        InvalidSourceError: There is no row, or there are too many.
    """
    assert fetched is not None
    priority, queue, number = Priority.from_label(spec.priority), spec.queue, 0
    async for row in fetched:
        number += 1
        if number > MAX_GENERATED_JOBS:
            raise InvalidSourceError(f"spec.query: more than {MAX_GENERATED_JOBS:,} rows, the limit")
        yield Job(queue, row, priority)
    if number == 0:
        raise InvalidSourceError("spec.query: it returned no row; a batch needs at least one job")
