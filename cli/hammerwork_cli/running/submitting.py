"""From a JobBatch manifest to rows in the queue, by the operator's own rules."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import InvalidBatchError, QueryError
from hammerwork_cli.running.decoding import ManifestError
from hammerwork_operator import sources
from hammerwork_operator.sources.settings import empty_batch
from hammerwork_operator.sources.source import InvalidSourceError, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from uuid import UUID

    from hammerwork.batch import JobBatch
    from hammerwork.queue import JobQueue
    from hammerwork_cli.running.manifests import BatchManifest
    from hammerwork_operator.sources.source import Fetched, Jobs


def expand(manifest: BatchManifest) -> tuple[JobBatch, Jobs]:
    """Return the batch's settings and its jobs; raises `ManifestError` that names file, batch and field."""
    try:
        batch = empty_batch(manifest.namespace, manifest.name, manifest.spec)
        for field, wrong in batch.settings_faults():
            raise ManifestError(f"{manifest.label}: spec.{field}: {wrong}")
        return batch, sources.jobs(manifest.spec, _each(manifest.contents))
    except (InvalidSourceError, InvalidBatchError) as error:
        raise ManifestError(f"{manifest.label}: {error}") from error


def count(manifest: BatchManifest) -> int:
    """Return how many jobs the batch has; 0 where only loading tells."""
    return sources.count(msgspec.to_builtins(manifest.spec)) or 0


async def enqueue(queue: JobQueue, manifest: BatchManifest, batch_id: UUID) -> None:
    """Store the batch under `batch_id`; raises `ManifestError` when a job of it breaks a rule, or its query fails."""
    batch, _ = expand(manifest)
    try:
        async with _fetched(queue, manifest, batch_id) as fetched:
            jobs = sources.jobs(manifest.spec, fetched)
            if isinstance(jobs, list):
                # Listed jobs may have several priorities: these are put in order, which a stream is not.
                await queue.enqueue_batch(batch.with_jobs(jobs), batch_id=batch_id)
            else:
                await queue.enqueue_stream(batch, jobs, batch_id=batch_id)
    except QueryError as error:
        raise ManifestError(f"{manifest.label}: spec.query: {error}") from error
    except (InvalidSourceError, InvalidBatchError) as error:
        raise ManifestError(f"{manifest.label}: {error}") from error


@asynccontextmanager
async def _fetched(queue: JobQueue, manifest: BatchManifest, batch_id: UUID) -> AsyncIterator[Fetched]:
    need = sources.need(manifest.spec)
    if isinstance(need, Query):
        async with queue.query(need.sql, timeout=float(need.timeout_seconds), alone=batch_id) as rows:
            yield rows
    else:
        yield _each(manifest.contents)


async def _each(contents: Iterable[bytes]) -> AsyncIterator[bytes]:
    for content in contents:
        yield content
