"""spec.configMapRefs: jobs in ConfigMaps."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from hammerwork import Job, Priority
from hammerwork_operator.api.sources import MAX_GENERATED_JOBS
from hammerwork_operator.sources import shards
from hammerwork_operator.sources.source import Contents, InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hammerwork_operator.api.jobbatch import JobBatchSpec
    from hammerwork_operator.api.sources import ConfigMapRef
    from hammerwork_operator.sources.source import Fetched

FIELD = "configMapRefs"

RULES: tuple[dict[str, str], ...] = ()


def count(given: object) -> int | None:
    """Return that the number is not known before the ConfigMaps have been read."""
    return None if isinstance(given, list) else 0


def need(given: Sequence[ConfigMapRef]) -> Contents:
    """Return the keys whose contents are needed."""
    return Contents(tuple(given))


def place(refs: Sequence[ConfigMapRef], position: int) -> str:
    """Return what messages call a shard."""
    ref = refs[position]
    return f"spec.{FIELD}[{position}] (ConfigMap {ref.name}, key {ref.key})"


def content_of(manifest: Mapping[str, Any], key: str) -> bytes | None:
    """Return what a ConfigMap has under a key, as data or as binary data; None if it is not there.

    Raises:
        ValueError: The binary data are not base64, as in a manifest that no API server has seen.
    """
    text = (manifest.get("data") or {}).get(key)
    if text is not None:
        return str(text).encode(errors="surrogatepass")
    packed = (manifest.get("binaryData") or {}).get(key)
    return None if packed is None else base64.b64decode(packed, validate=True)


async def jobs(spec: JobBatchSpec, given: Sequence[ConfigMapRef], fetched: Fetched | None) -> AsyncIterator[Job]:
    """Yield the jobs of each shard in turn.

    Raises:
        InvalidSourceError: A shard cannot be read; names the shard, the line and the reason.
    """
    assert fetched is not None
    priority, queue, number, position = Priority.from_label(spec.priority), spec.queue, 0, 0
    async for content in fetched:
        where = place(given, position)
        for payload in shards.payloads(given[position].key, content, where):
            number += 1
            if number > MAX_GENERATED_JOBS:
                raise InvalidSourceError(f"{where}: more than {MAX_GENERATED_JOBS:,} jobs, the limit")
            yield Job(queue, payload, priority)
        position += 1
