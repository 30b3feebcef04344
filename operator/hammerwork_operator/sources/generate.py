"""spec.generate: a count and a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork import Job, Priority
from hammerwork_operator.sources.template import compile_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hammerwork_operator.api.jobbatch import GenerateSpec, JobBatchSpec

FIELD = "generate"

RULES: tuple[dict[str, str], ...] = ()


def count(given: object) -> int:
    """Return the count."""
    found = given.get("count") if isinstance(given, dict) else None
    return found if isinstance(found, int) else 0


def jobs(spec: JobBatchSpec, given: GenerateSpec) -> Iterator[Job]:
    """Yield `given.count` jobs, one at a time: the count may be any size.

    Raises:
        InvalidSourceError: The template has an unknown placeholder; raised at once, not with the first job.
    """
    render = compile_template(given.payload, "spec.generate.payload")
    priority = Priority.from_label(spec.priority)
    queue = spec.queue
    return (Job(queue, render(index), priority) for index in range(given.count))
