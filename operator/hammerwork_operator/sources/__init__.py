"""The sources of jobs: a module for each field of a JobBatch's spec that says which jobs there are, and their list.

The CRD's rules, the counts of a status, the operator that loads and the command line all ask here what sources there
are. docs/adding.md says how to add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from hammerwork_operator.api.jobbatch import JobBatchSpec
from hammerwork_operator.api.rules import exactly_one, listed
from hammerwork_operator.sources import configmaps, generate, inline, query
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hammerwork_operator.sources.source import Fetched, Jobs, Need, Source

SOURCES: tuple[Source, ...] = (inline, generate, configmaps, query)

FIELDS = tuple(source.FIELD for source in SOURCES)

_SPEC = {field.encode_name: field for field in msgspec.structs.fields(JobBatchSpec)}


def rules() -> list[dict[str, str]]:
    """Return what the CRD demands of spec, as far as it concerns the sources."""
    return [exactly_one(FIELDS), *(rule for source in SOURCES for rule in source.RULES)]


def source_of(spec: JobBatchSpec) -> Source:
    """Return the source that the spec has.

    Raises:
        InvalidSourceError: There is none, or more than one.
    """
    given = [source for source in SOURCES if _given(spec, source) is not UNSET]
    if len(given) != 1:
        seen = listed([f"spec.{source.FIELD}" for source in given]) or "none"
        wanted = listed([f"spec.{field}" for field in FIELDS])
        raise InvalidSourceError(f"spec: {seen} given, must be exactly one of {wanted}")
    return given[0]


def count(raw: Mapping[str, Any]) -> int | None:
    """Return the number of jobs of a spec as the manifest has it.

    It is 0 for a spec that is refused when it is loaded, None for one whose jobs are counted only then.
    """
    return next((number for source in SOURCES if (number := source.count(raw.get(source.FIELD))) != 0), 0)


def is_small(raw: Mapping[str, Any]) -> bool:
    """Return whether the jobs of a spec as the manifest has it are sure to be few and small: their load is short.

    Those that are listed are; they are no larger than the object.
    """
    return bool(inline.count(raw.get(inline.FIELD))) or generate.is_small(raw.get(generate.FIELD))


def raw_need(raw: Mapping[str, Any]) -> Need | None:
    """Return what has to be fetched for the jobs of a spec as the manifest has it.

    Raises:
        ValidationError: The source of the jobs cannot be read.
    """
    for source in SOURCES if count(raw) is None else ():
        if raw.get(source.FIELD) is not None:
            return source.need(msgspec.convert(raw[source.FIELD], _SPEC[source.FIELD].type))
    return None


def need(spec: JobBatchSpec) -> Need | None:
    """Return what has to be fetched for the jobs of the spec; raises `InvalidSourceError` as `jobs` does."""
    source = source_of(spec)
    return source.need(_given(spec, source))


def jobs(spec: JobBatchSpec, fetched: Fetched | None = None) -> Jobs:
    """Return the jobs of the spec, from what was fetched for them.

    Raises:
        InvalidSourceError: It has not exactly one source, or the source breaks a rule.
    """
    source = source_of(spec)
    return source.jobs(spec, _given(spec, source), fetched)


def _given(spec: JobBatchSpec, source: Source) -> Any:
    return getattr(spec, _SPEC[source.FIELD].name)
