"""Worker processes on a loaded batch."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks.memory import MIB
from benchmarks.processes import ProgramError, our_program, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from benchmarks.processes import Program
    from hammerwork import BatchStatus, JobQueue

DEADLINE_SECONDS = 600.0


class Drained(msgspec.Struct, frozen=True):
    """What it took to drain a batch."""

    seconds: float
    """From the workers' start to the last outcome in the database."""
    peak_mib: float
    """Memory of the largest worker process."""


@contextlib.asynccontextmanager
async def workers(url: str, *, processes: int, lanes: int, handler: str) -> AsyncIterator[list[Program]]:
    """Start worker processes that wait to be told to begin."""
    async with contextlib.AsyncExitStack() as stack:
        command = our_program("work", url, lanes, handler)
        programs = [await stack.enter_async_context(running(command)) for _ in range(processes)]
        for program in programs:
            await program.ready()
        yield programs


async def drain(
    queue: JobQueue, url: str, batch_id: UUID, *, processes: int = 1, lanes: int = 10, handler: str = "noop"
) -> Drained:
    """Let worker processes run all jobs of a batch; raises `ProgramError` unless each has completed once."""
    async with workers(url, processes=processes, lanes=lanes, handler=handler) as programs:
        started = time.time()
        for program in programs:
            program.tell("go")
        status = await queue.wait(batch_id, timeout=DEADLINE_SECONDS, interval=0.05)
        for program in programs:
            program.tell("stop")
        answers = [await program.answer() for program in programs]
    check_counts(status, sum(answer["jobs"] for answer in answers))
    assert status.finished_at is not None
    peak = max(answer["peak_bytes"] for answer in answers) / MIB
    return Drained(seconds=status.finished_at.timestamp() - started, peak_mib=peak)


def check_counts(status: BatchStatus, ran: int) -> None:
    """Raise `ProgramError` unless the queue and the workers have counted every job of the batch once."""
    if not status.total_jobs == status.completed_jobs == ran:
        raise ProgramError(
            f"batch {status.name!r}: {status.total_jobs:,} jobs, {status.completed_jobs:,} completed in the database, "
            f"{ran:,} by the workers' count; all three must be equal"
        )
