"""Runs the batches of manifests in this process: enqueue all, work until all are finished, report."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING

from hammerwork.errors import DatabaseError, DatabaseUnavailableError
from hammerwork.working.pool import WorkerPool
from hammerwork.working.settings import WorkerSettings
from hammerwork.working.worker import Worker
from hammerwork_cli.output.summary import BatchReport, Ending, RunReport, report_batch, report_unbegun
from hammerwork_cli.running.deadlines import Deadlines
from hammerwork_cli.running.order import Order
from hammerwork_cli.running.submitting import count, enqueue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from hammerwork.handlers import Handler
    from hammerwork.queue import JobQueue
    from hammerwork.reports import BatchStatus
    from hammerwork_cli.output.progress import Display
    from hammerwork_cli.running.manifests import BatchManifest, Manifests, PoolManifest

SECONDS_BETWEEN_LOOKS = 0.2
DATABASE_PATIENCE_SECONDS = 60.0
"""How long the database may be away before a run gives up."""


class Stop:
    """Set from a signal handler: ends the run, and tells why."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.ending = Ending.FINISHED

    def set(self, ending: Ending) -> None:
        """End the run; the first reason counts."""
        if not self.event.is_set():
            self.ending = ending
            self.event.set()


class LocalRun:
    """One run of `manifests` on the database of `queue`; `handlers` has each pool's function by the pool's label."""

    def __init__(
        self, queue: JobQueue, manifests: Manifests, handlers: Mapping[str, Handler], display: Display, stop: Stop
    ) -> None:
        self._queue = queue
        self._manifests = manifests
        self._handlers = handlers
        self._display = display
        self._stop = stop
        # Fresh ids: running the same files again is a new run.
        self._ids: dict[UUID, BatchManifest] = {uuid.uuid4(): batch for batch in manifests.batches}
        self._order = Order(self._ids)
        limits = {batch_id: batch.spec.active_deadline_seconds for batch_id, batch in self._ids.items()}
        self._deadlines = Deadlines({batch_id: limit for batch_id, limit in limits.items() if isinstance(limit, int)})
        self._past_deadline: set[UUID] = set()

    async def run(self, *, timeout: float | None) -> RunReport:
        """Run everything; after `timeout` seconds, or when told to stop, cancel what has not started.

        Raises:
            ManifestError: A job of a batch breaks a rule; the other batches are cancelled.
            DatabaseUnavailableError: The database stayed away.
        """
        started = time.monotonic()
        await self._queue.create_tables()
        pool = WorkerPool()
        for manifest in self._manifests.pools:
            pool.add_worker(build_worker(self._queue, manifest, self._handlers[manifest.label]))
        stopping = asyncio.create_task(self._stop.event.wait())
        following = asyncio.create_task(self._enqueue_and_follow())
        working = asyncio.create_task(pool.start())
        try:
            await asyncio.wait({following, working, stopping}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not following.done() and not working.done():
                self._stop.set(Ending.TIMED_OUT)
        finally:
            try:
                await self._wind_up(following, working, pool)
            finally:
                # A second signal cuts the winding up short, wherever it stands: nothing may use the queue after this.
                tasks = {following, working, stopping}
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        return RunReport(
            ending=self._stop.ending,
            duration_seconds=time.monotonic() - started,
            batches=await self._report(),
            skipped=self._manifests.skipped,
        )

    async def _wind_up(self, following: asyncio.Task[None], working: asyncio.Task[None], pool: WorkerPool) -> None:
        completed = following.done() and not following.cancelled() and following.exception() is None
        following.cancel()
        await asyncio.wait({following})
        if not completed:
            # What is left would run in whichever process works on this queue next.
            await self._cancel_all()
        if not working.done():
            pool.stop()
        await working
        if not following.cancelled() and (error := following.exception()):
            raise error

    async def _cancel_all(self) -> None:
        with contextlib.suppress(DatabaseError):
            for batch_id in await self._queue.get_batch_statuses(list(self._ids)):
                await self._queue.cancel_batch(batch_id)

    async def _enqueue_and_follow(self) -> None:
        await self._begin({})
        reached = time.monotonic()
        while True:
            try:
                statuses = await self._queue.get_batch_statuses(list(self._ids))
                await self._hold_deadlines(statuses)
                begun = await self._begin(statuses)
            except DatabaseUnavailableError:
                if time.monotonic() - reached > DATABASE_PATIENCE_SECONDS:
                    raise
            else:
                reached = time.monotonic()
                self._display.show(statuses.values())
                if not begun and self._order.all_begun and all(status.finished for status in statuses.values()):
                    return
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def _begin(self, statuses: Mapping[UUID, BatchStatus]) -> bool:
        """Store the batches that need not wait any more; return whether there were any."""
        due = self._order.due(statuses)
        for batch_id in due:
            await enqueue(self._queue, self._ids[batch_id], batch_id)
            self._order.begun(batch_id)
        return bool(due)

    async def _hold_deadlines(self, statuses: Mapping[UUID, BatchStatus]) -> None:
        for batch_id in self._deadlines.passed(statuses.values(), time.time()):
            self._past_deadline.add(batch_id)
            await self._queue.cancel_batch(batch_id)

    async def _report(self) -> list[BatchReport]:
        statuses = await self._queue.get_batch_statuses(list(self._ids))
        self._display.show(statuses.values())
        reports = []
        for batch_id, manifest in self._ids.items():
            if batch_id in statuses:
                errors = await self._queue.get_batch_errors(batch_id)
                late = batch_id in self._past_deadline
                reports.append(report_batch(statuses[batch_id], errors, deadline_exceeded=late))
            elif batch_id in self._order.failed:
                name = f"{manifest.namespace}/{manifest.name}"
                spec = manifest.spec
                reports.append(report_unbegun(batch_id, name, spec.queue, spec.metadata, count(manifest)))
        return reports


def build_worker(queue: JobQueue, manifest: PoolManifest, handler: Handler) -> Worker:
    """Return the worker that stands for all replicas of a pool."""
    spec = manifest.spec
    settings = WorkerSettings(
        queue=spec.queue,
        pool=f"{manifest.namespace}/{manifest.name}",
        concurrency=spec.concurrency,
        poll_interval_seconds=spec.poll_interval_milliseconds / 1000.0,
        batch_processing=spec.batch_processing,
        shutdown_grace_period_seconds=spec.shutdown_grace_period_seconds,
    )
    return Worker.from_settings(queue, settings, handler)
