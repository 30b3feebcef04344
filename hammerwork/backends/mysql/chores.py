"""What is done again and again, from the pool of a process or the lifeline of a worker; each is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from hammerwork.backends.listing import merged
from hammerwork.backends.mysql.statements import is_block, statement
from hammerwork.backends.slices import MAX_CHUNK_JOBS
from hammerwork.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Span

    Run = Callable[..., Awaitable[list[list[Row]]]]


class Chores:
    """Chores on one database; a `hammerwork.backends.upkeep.Caller`.

    Args:
        run: Runs a text; `block` tells whether it is one transaction of several statements.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._named: dict[str, Callable[..., Awaitable[Sequence[Any]]]] = {
            "upkeep": self._upkeep,
            "tick": self._tick,
            "reap": self._reap,
            "forget_workers": self._forget_workers,
            "workers_at": self._workers_at,
            "forget_silent": self._forget_silent,
            "unfinished": self._unfinished,
            "delete_slice": self._delete_slice,
            "retry_slice": self._retry_slice,
            "finish_stopped": self._finish_stopped,
        }

    async def rows(self, *names: str, **values: Any) -> list[Row]:
        """Return the rows of the last statement that has rows."""
        results = await self._run(statement(*names, **values), block=is_block(*names))
        return results[-1] if results else []

    async def fetch(self, query: str, **values: Any) -> Sequence[Any]:
        """Do one step of the upkeep."""
        return await self._named[query](**values)

    async def wake(self, queue: str | None) -> None:
        """Do nothing: the server has no notifications, so workers learn of jobs by polling."""

    async def _upkeep(self, seconds: float) -> list[tuple[bool]]:
        (row,) = await self.rows("upkeep", seconds=float(seconds))
        return [(bool(row["turn"]),)]

    async def _tick(self, limit: int) -> list[Row]:
        due = await self.rows("tick", limit=limit)
        if not due:
            await self.rows("forget_statistics")
        return due

    async def _reap(self) -> list[Row]:
        freed = await self._put_back("lost_claim")
        if not freed:
            await self._forget_workers()
        return freed

    async def _forget_workers(self) -> list[Row]:
        workers = [row["id"] for row in await self.rows("lost_workers")]
        if workers:
            await self.rows("forget_workers", ids=[UUID(bytes=worker) for worker in workers])
        return []

    async def _workers_at(self, instances: Sequence[str], share: float) -> list[Row]:
        found = await self.rows("workers_at", instances=instances, share=share)
        return [{**row, "id": UUID(bytes=row["id"])} for row in found]

    async def _forget_silent(self, ids: Sequence[UUID], share: float) -> list[Row]:
        await self.rows("forget_silent", ids=ids, share=share)
        return []

    async def recover(self, worker_id: UUID, held: Sequence[int], older_than: float) -> list[Row]:
        """Give back one claim that the worker does not know of; no row: there is none."""
        return await self._put_back(
            "unknown_claim", worker=worker_id, held=list(held) or [0], seconds_us=round(older_than * 1_000_000)
        )

    async def _put_back(self, which: str, **values: Any) -> list[Row]:
        (row,) = await self.rows(which, "put_back", **values)
        if row["stopped"] is not None:
            await self.finish_stopped(UUID(bytes=row["stopped"]))
        return [row] if row["jobs"] is not None else []

    async def _unfinished(self, limit: int) -> list[Row]:
        return [{**row, "id": UUID(bytes=row["id"])} for row in await self.rows("unfinished", limit=limit)]

    async def finish_stopped(self, batch_id: UUID) -> None:
        """End a stopped batch if no worker holds anything of it."""
        await self.rows("finish_stopped", batch=batch_id)

    async def _finish_stopped(self, batch: UUID) -> list[Row]:
        await self.finish_stopped(batch)
        return []

    async def delete_slice(self, batch_id: UUID, limit: int) -> bool:
        """Remove some rows of a batch that is being deleted; False if nothing was left."""
        (row,) = await self.rows("delete_slice", batch=batch_id, limit=limit)
        return bool(row["more"])

    async def _delete_slice(self, batch: UUID, limit: int) -> list[tuple[bool]]:
        return [(await self.delete_slice(batch, limit),)]

    async def retry_slice(self, batch_id: UUID, limit: int) -> bool:
        """Make chunks of some recorded failures; after the last, let the batch be claimed. False: nothing was left."""
        failures = await self.rows("retry_next", batch=batch_id, limit=limit)
        while len(failures) == limit and failures[0]["idx"] == failures[-1]["idx"]:
            # It ends between two jobs, and this one has as many attempts as were asked for, or more.
            limit *= 2
            failures = await self.rows("retry_next", batch=batch_id, limit=limit)
        if not failures:
            return False
        if failures[0]["idx"] is None:
            await self.rows("retry_end", batch=batch_id)
            return False
        if len(failures) == limit:
            # There may be more attempts of the last job than are seen here.
            failures = [row for row in failures if row["idx"] < failures[-1]["idx"]]
        priorities = msgspec.json.decode(failures[0]["priorities"], type=list[tuple[int, int]])
        text = failures[0]["retry_chosen"]
        chosen = Selection.from_text(text) if text is not None else Selection()
        jobs = [row["idx"] for row in failures if row["final"] and chosen.matches(row["idx"], row["error_type"])]
        chunks = retried_chunks(jobs, priorities)
        meant = set(jobs)
        await self.rows(
            "retry_slice",
            batch=batch_id,
            first=failures[0]["retry_from"],
            last=failures[-1]["idx"],
            all=text is None,
            indexes=[] if text is None else jobs,
            jobs=len(jobs),
            expected=len(failures) if text is None else sum(row["idx"] in meant for row in failures),
            chunks=msgspec.json.encode(chunks).decode(),
        )
        return True

    async def _retry_slice(self, batch: UUID, limit: int) -> list[tuple[bool]]:
        return [(await self.retry_slice(batch, limit),)]


def retried_chunks(
    indexes: Iterable[int], priorities: Sequence[tuple[int, int]]
) -> list[tuple[int, int, int, int, str | None]]:
    """Return (priority, lo, hi, size, spans) of the chunks that failed jobs form, whose indexes ascend.

    `priorities` are (first index, priority) of the runs of jobs.
    """
    chunks: list[tuple[int, list[int]]] = []
    last: dict[int, list[int]] = {}
    run = 0
    for index in indexes:
        while run + 1 < len(priorities) and priorities[run + 1][0] <= index:
            run += 1
        priority = priorities[run][1]
        jobs = last.get(priority)
        if jobs is None or len(jobs) == MAX_CHUNK_JOBS:
            jobs = last[priority] = []
            chunks.append((priority, jobs))
        jobs.append(index)
    return [(priority, jobs[0], jobs[-1], len(jobs), _scattered(merged(jobs))) for priority, jobs in chunks]


def _scattered(spans: Sequence[Span]) -> str | None:
    return msgspec.json.encode(spans).decode() if len(spans) > 1 else None
