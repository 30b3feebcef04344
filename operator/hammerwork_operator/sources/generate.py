"""spec.generate: a template, and how many jobs to make of it, or what each of them is made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from hammerwork import Job, Priority, placeholders
from hammerwork.backends.slices import SLICE_BYTES, SLICE_JOBS
from hammerwork_operator.api.sources import GENERATE_WAYS
from hammerwork_operator.sources import matrix
from hammerwork_operator.sources.source import InvalidSourceError
from hammerwork_operator.sources.template import compile_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hammerwork.placeholders import Placeholder
    from hammerwork_operator.api.jobbatch import JobBatchSpec
    from hammerwork_operator.api.sources import GenerateSpec
    from hammerwork_operator.sources.source import Fetched

FIELD = "generate"

RULES: tuple[dict[str, str], ...] = ()

_PAYLOAD = "spec.generate.payload"
_ITEMS = "spec.generate.items"
_MATRIX = "spec.generate.matrix"


def count(given: object) -> int:
    """Return the count, the number of items or that of combinations."""
    match given:
        case {"count": int(number)}:
            return number
        case {"items": [*items]}:
            return len(items)
        case {"matrix": dict(found)}:
            try:
                return matrix.size(matrix.axes(found, _MATRIX))
            except InvalidSourceError:
                return 0
        case _:
            return 0


def is_small(given: object) -> bool:
    """Return whether the jobs are sure to fill no more than a slice of a stream."""
    number = count(given)
    if not isinstance(given, dict) or not 0 < number <= SLICE_JOBS:
        return False
    payload, items, grid = (msgspec.json.encode(given.get(key)) for key in ("payload", "items", "matrix"))
    # A value may stand in the payload as often as braces open there, and is up to twice as long as JSON within a text.
    most = 2 * payload.count(b"{{") * (len(items) + number * len(grid))
    return number * len(payload) + most <= SLICE_BYTES


def need(given: GenerateSpec) -> None:
    """Return that nothing has to be fetched."""


def jobs(spec: JobBatchSpec, given: GenerateSpec, fetched: Fetched | None = None) -> Iterator[Job]:  # noqa: ARG001
    """Yield the jobs, one at a time: they may be any number.

    Raises:
        InvalidSourceError: It is not exactly one way, the matrix or the template breaks a rule, or an item lacks what a
            placeholder looks for; raised at once, not with the first job.
    """
    ways = [way for way in GENERATE_WAYS if getattr(given, way) is not UNSET]
    if len(ways) != 1:
        seen = " and ".join(ways) or "none"
        raise InvalidSourceError(f"spec.generate: {seen} given, must be exactly one of count, items and matrix")
    names, values = _values(given)
    template = compile_template(given.payload, _PAYLOAD, names)
    if given.items is not UNSET:
        _check_items(given.items, template.places)
    render = template.render
    priority = Priority.from_label(spec.priority)
    queue = spec.queue
    return (Job(queue, render(index, found), priority) for index, found in values)


def _values(given: GenerateSpec) -> tuple[dict[str, bool], Iterator[tuple[int, Mapping[str, Any]]]]:
    """Return the names of the placeholders beside index, and for each job its index and what they stand for."""
    if given.items is not UNSET:
        return {"item": True}, enumerate({"item": item} for item in given.items)
    if given.matrix is not UNSET:
        axes = matrix.axes(given.matrix, _MATRIX)
        return {axis.placeholder: False for axis in axes}, enumerate(matrix.combinations(axes))
    assert given.count is not UNSET
    nothing: Mapping[str, Any] = {}
    return {}, ((index, nothing) for index in range(given.count))


def _check_items(items: Sequence[Any], places: Sequence[tuple[str, Placeholder]]) -> None:
    for where, placeholder in places:
        for position, item in enumerate(items if placeholder.path else ()):
            try:
                placeholders.look_up(item, placeholder.path)
            except LookupError:
                path = ".".join(placeholder.path)
                raise InvalidSourceError(f"{where}: {placeholder}: {_ITEMS}[{position}] has no {path!r}") from None
