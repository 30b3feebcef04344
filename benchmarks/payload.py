"""The jobs that every system gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork import Job, JobBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from hammerwork import JobQueue

QUEUE = "benchmark"
MAX_BATCH_SIZE = 1_000


def payload(number: int) -> dict[str, Any]:
    """Return the payload of a job; the peers' programs make the same."""
    return {"user": number, "email": "user1@example.com", "s": "hello world"}


def make_jobs(count: int) -> Iterator[Job]:
    """Make jobs one by one."""
    return (Job(QUEUE, payload(number)) for number in range(count))


def make_batch(name: str, batch_size: int = MAX_BATCH_SIZE) -> JobBatch:
    """Return a batch without jobs."""
    return JobBatch(name, queue=QUEUE).with_batch_size(batch_size)


async def load_jobs(queue: JobQueue, count: int, batch_size: int = MAX_BATCH_SIZE) -> UUID:
    """Enqueue one batch of `count` jobs."""
    return await queue.enqueue_stream(make_batch("load", batch_size), make_jobs(count))
