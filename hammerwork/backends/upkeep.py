"""What somebody must do for all queues of a database, again and again; any worker or operator may."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

from hammerwork.backends.protocol import Upkeep
from hammerwork.backends.storing import ABANDONED, DELETE_ROWS, DELETING, RETRY_JOBS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

DUE_CHUNKS = 1_000
"""Chunks of due retries that one transaction makes ready, at most."""
UNFINISHED_BATCHES = 100
"""Batches that one turn looks after, at most."""
SLICES_PER_TURN = 10
"""Of a deletion or retry that was cut off: the others have their turn in between."""
CLAIMS_PER_NOTICE = 100
"""So many claims go back before the workers of their queues are notified: notifications are costly for the server."""


class Caller(Protocol):
    """Runs the statements of the upkeep, each as one transaction."""

    async def fetch(self, query: str, **values: Any) -> Sequence[Any]:
        """Run a statement by its name in sql/, with the values of its parameters; return its rows."""
        ...

    async def wake(self, queue: str | None) -> None:
        """Notify the workers of a queue."""
        ...


async def do_upkeep(caller: Caller, seconds: float) -> Upkeep:
    """Do the upkeep if it is due; see `hammerwork.backends.protocol.Backend.upkeep`."""
    (turn,) = await caller.fetch("upkeep", seconds=seconds)
    if not turn[0]:
        return Upkeep(turn=False)
    done = Upkeep(turn=True)
    while due := await caller.fetch("tick", limit=DUE_CHUNKS):
        for queue in {row["queue"] for row in due}:
            await caller.wake(queue)
        if len(due) < DUE_CHUNKS:
            break
    done.released = await reap(caller)
    unfinished = list(await caller.fetch("unfinished", limit=UNFINISHED_BATCHES))
    random.shuffle(
        unfinished
    )  # one that cannot be finished, as its rows are locked, ends the turn: not always before the same
    for row in unfinished:
        await _finish(caller, row["id"], row["state"], row["queue"])
    return done


async def reap(caller: Caller) -> int:
    """Free the claims of lost workers; return the number of jobs."""

    async def forget_and_wake(queue: str | None) -> None:
        # Whoever looks for the next claim passes by all lost workers that have none any more.
        await caller.fetch("forget_workers")
        await caller.wake(queue)

    return await free_claims(lambda: caller.fetch("reap"), forget_and_wake)


async def forget_workers(caller: Caller, instances: Sequence[str], share: float) -> set[str]:
    """Forget workers and recover their claims; see `hammerwork.backends.protocol.Backend.forget_workers`."""
    found = await caller.fetch("workers_at", instances=instances, share=share)
    silent = [row["id"] for row in found if row["silent"]]
    if silent:
        await caller.fetch("forget_silent", ids=silent, share=share)
        await reap(caller)
    return {row["instance"] for row in found if not row["silent"]}


async def free_claims(
    free_one: Callable[[], Awaitable[Sequence[Any]]], wake: Callable[[str | None], Awaitable[None]]
) -> int:
    """Free claims until there are none; return the number of their jobs.

    Args:
        free_one: Frees one claim and returns a row with `jobs` and `queue`, or no row. Each is one transaction, which
            locks the rows of one chunk and one batch only.
        wake: Notifies the workers of a queue.
    """
    jobs = 0
    freed = [*await free_one()]
    while freed:
        queues = set()
        for _ in range(CLAIMS_PER_NOTICE):
            jobs += freed[0]["jobs"]
            queues.add(freed[0]["queue"])
            freed = [*await free_one()]
            if not freed:
                break
        for queue in queues:
            await wake(queue)
    return jobs


async def _finish(caller: Caller, batch_id: UUID, state: str, queue: str) -> None:
    if state in {DELETING, ABANDONED}:
        await _some_slices(caller, "delete_slice", batch_id, DELETE_ROWS)
    elif state == "Retrying":
        if await _some_slices(caller, "retry_slice", batch_id, RETRY_JOBS):
            await caller.wake(queue)
    else:
        await caller.fetch("finish_stopped", batch=batch_id)


async def _some_slices(caller: Caller, query: str, batch_id: UUID, limit: int) -> bool:
    """Return whether it is done."""
    for _ in range(SLICES_PER_TURN):
        (more,) = await caller.fetch(query, batch=batch_id, limit=limit)
        if not more[0]:
            return True
    return False
