"""Carries out what `plan` decides for JobBatches and writes what `status` computes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork import PartialFailureMode
from hammerwork.errors import (
    BatchNotFoundError,
    DatabaseError,
    HammerworkError,
    InvalidBatchError,
)
from hammerwork_operator import sources
from hammerwork_operator.api.jobbatch import KIND, MAX_ERROR_GROUPS, PLURAL, DeletionPolicy, JobBatchSpec
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases.secret import SecretProblemError
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.facts import Facts, Load, Trouble
from hammerwork_operator.jobbatch.observed import ObservedBatch, observe, spec_digest
from hammerwork_operator.jobbatch.plan import LOOK_AGAIN_SECONDS, Plan, Step, decide, is_finished
from hammerwork_operator.kube import events
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.notes import Note, Subject
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.sources.settings import empty_batch
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork import BatchStatus, ErrorGroup
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.databases.followed import FollowedQueue
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics

STATUS_SECONDS = 1.0
"""The status of one batch is written at most this often."""
STATUS_COST_FACTOR = 4.0
"""Where a write takes long (an object of 1 MiB, a busy API server), progress is written a fifth of the time at most."""
ERRORS_SECONDS = 5.0
"""The failures of one batch are grouped at most this often while it runs: that query reads them all."""
PARALLEL_LOADS = 4

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Memory:
    """What this process knows of one object. Nothing of it matters after a restart."""

    observed: ObservedBatch
    database: FollowedQueue | None = None
    load: Load | None = None
    load_task: asyncio.Task[None] | None = None
    trouble: tuple[float, Trouble] | None = None
    written_at: float = float("-inf")
    write_seconds: float = 0.0
    errors: tuple[float, BatchStatus, Sequence[ErrorGroup]] | None = None

    def let_go(self) -> None:
        """Stop to follow the batch and to load it."""
        if self.database is not None:
            self.database.unfollow(self.observed.batch_id)
            self.database = None
        if self.load_task is not None:
            self.load_task.cancel()


class JobBatchController:
    """Brings JobBatches to their end. `seen` tells it of every change of an object."""

    def __init__(self, server: ApiServer, databases: Databases, metrics: Metrics) -> None:
        self._server = server
        self._databases = databases
        self._metrics = metrics
        self._queue = Workqueue(KIND, self._reconcile, metrics)
        self._memory: dict[Key, _Memory] = {}
        self._loads = asyncio.Semaphore(PARALLEL_LOADS)

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of an object as the API server has it now."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        memory = self._memory.get(key)
        if memory is not None and (deleted or memory.observed.uid != metadata["uid"]):
            self._forget(key)
            memory = None
        if deleted:
            return
        if memory is None:
            self._memory[key] = _Memory(observe(manifest))
        else:
            known = memory.observed
            if int(metadata["resourceVersion"]) < int(known.resource_version):
                return  # we have written since
            unchanged = metadata["generation"] == known.generation
            memory.observed = observe(manifest, digest=known.digest if unchanged else None)
        self._queue.add(key)

    async def stop(self) -> None:
        """End all work. What is half loaded is taken up again by the next process."""
        await self._queue.stop()
        tasks = [memory.load_task for memory in self._memory.values() if memory.load_task is not None]
        for key in list(self._memory):
            self._forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: Key) -> None:
        if (memory := self._memory.pop(key, None)) is not None:
            memory.let_go()

    async def _reconcile(self, key: Key) -> float | None:
        memory = self._memory.get(key)
        if memory is None:
            return None
        facts = await self._gather(memory)
        observed = memory.observed
        plan = decide(observed, facts, datetime.now(UTC))
        try:
            rest = None
            if observed.deleted_at is None and plan.step is not Step.ADD_FINALIZER:
                rest = await self._write_status(memory, facts)
            again = await self._carry_out(memory, plan)
        except DatabaseError as error:
            memory.trouble = (time.monotonic() + LOOK_AGAIN_SECONDS, _away(error))
            return 0.0
        except ApiError as error:
            if error.not_found:
                self._forget(key)
                return None
            raise
        if is_finished(memory.observed) or plan.step is Step.FORGET:
            memory.let_go()
        return min((seconds for seconds in (rest, again) if seconds is not None), default=None)

    # Looking.

    async def _gather(self, memory: _Memory) -> Facts:
        observed = memory.observed
        if not _needs_database(observed):
            return Facts(load=memory.load)
        if memory.trouble is not None and memory.trouble[0] > time.monotonic():
            return Facts(trouble=memory.trouble[1], load=memory.load)
        memory.trouble = None
        try:
            database = await self._database(observed)
            if database.error is not None:
                return Facts(trouble=_away(database.error), load=memory.load)
            self._follow(memory, database)
            row = database.statuses.get(observed.batch_id) or await database.look(observed.batch_id)
            return Facts(row=row, load=memory.load, errors=await self._errors(memory, database, row))
        except SecretProblemError as error:
            return Facts(trouble=Trouble(error.reason, error.message, passing=False), load=memory.load)
        except DatabaseError as error:
            return Facts(trouble=_away(error), load=memory.load)

    async def _database(self, observed: ObservedBatch) -> FollowedQueue:
        ref = observed.spec.database_secret_ref
        try:
            return await self._databases.database(observed.namespace, ref)
        except SecretProblemError:
            # In a namespace that is going away, the Secret may go first; the rows should go all the same.
            if (
                observed.deleted_at is not None
                and (known := self._databases.known(observed.namespace, ref)) is not None
            ):
                return known
            raise

    def _follow(self, memory: _Memory, database: FollowedQueue) -> None:
        if memory.database is database:
            return
        observed = memory.observed
        if memory.database is not None:
            memory.database.unfollow(observed.batch_id)
        memory.database = database
        key = (observed.namespace, observed.name)
        database.follow(observed.batch_id, lambda: self._queue.add(key))

    async def _errors(
        self, memory: _Memory, database: FollowedQueue, row: BatchStatus | None
    ) -> Sequence[ErrorGroup] | None:
        if row is None or not (row.failed_jobs or row.failure_mode is PartialFailureMode.COLLECT_ERRORS):
            return None
        if memory.errors is not None:
            asked_at, asked_for, groups = memory.errors
            if asked_for == row or (not row.finished and time.monotonic() - asked_at < ERRORS_SECONDS):
                return groups
        try:
            groups = await database.queue.get_batch_errors(row.batch_id, limit=MAX_ERROR_GROUPS)
        except BatchNotFoundError:
            return None
        memory.errors = (time.monotonic(), row, groups)
        return groups

    # Acting.

    async def _write_status(self, memory: _Memory, facts: Facts) -> float | None:
        """Write the status if it changed; return the seconds to wait if it was written a moment ago."""
        observed = memory.observed
        wanted = status.compute(observed, facts, datetime.now(UTC))
        patch = status.patch(observed.status, wanted)
        if patch is None:
            return None
        started = time.monotonic()
        pause = STATUS_SECONDS
        if status.same_reason(observed.status, wanted):
            pause = max(pause, STATUS_COST_FACTOR * memory.write_seconds)
        if (rest := memory.written_at + pause - started) > 0:
            return rest
        answer = await self._server.patch_status(PLURAL, observed.namespace, observed.name, observed.uid, patch)
        memory.written_at = time.monotonic()
        memory.write_seconds = memory.written_at - started
        self._metrics.status_writes.labels(KIND).inc()
        memory.observed = msgspec.structs.replace(
            memory.observed, status=wanted, resource_version=answer["metadata"]["resourceVersion"]
        )
        for note in status.notes(observed.status, wanted):
            await events.record(self._server, _subject(observed), note)
        return None

    async def _carry_out(self, memory: _Memory, plan: Plan) -> float | None:  # noqa: PLR0911 (one per step)
        observed, database = memory.observed, memory.database
        match plan.step:
            case Step.ADD_FINALIZER:
                await self._set_finalizers(memory, (*observed.finalizers, FINALIZER))
                return 0.0
            case Step.LOAD:
                self._start_load(memory)
                return STATUS_SECONDS
            case Step.SUSPEND | Step.RESUME | Step.CANCEL if database is not None:
                await _steer(database, observed, plan.step)
                return 0.1
            case Step.REMOVE_ROWS | Step.CANCEL_ROWS if database is not None:
                await self._stop_load(memory)
                await _clear(database, observed, plan.step)
                await self._release(memory, None)
                return None
            case Step.RELEASE:
                await self._stop_load(memory)
                await self._release(memory, plan.orphaned)
                return None
            case Step.DELETE_OBJECT:
                await self._server.delete(PLURAL, observed.namespace, observed.name, observed.uid)
                return None
            case _:
                return plan.after

    async def _set_finalizers(self, memory: _Memory, finalizers: tuple[str, ...]) -> None:
        observed = memory.observed
        answer = await self._server.set_finalizers(
            PLURAL, observed.namespace, observed.name, finalizers, resource_version=observed.resource_version
        )
        memory.observed = msgspec.structs.replace(
            observed, finalizers=finalizers, resource_version=answer["metadata"]["resourceVersion"]
        )

    async def _release(self, memory: _Memory, orphaned: str | None) -> None:
        observed = memory.observed
        if orphaned is not None:
            _LOGGER.warning("JobBatch %s/%s: rows left behind: %s", observed.namespace, observed.name, orphaned)
            message = (
                f"batch {observed.batch_id} may still be in the database, because it could not be removed: {orphaned}"
            )
            note = Note(reason=Reason.ROWS_ORPHANED, message=message, warning=True)
            await events.record(self._server, _subject(observed), note)
        await self._set_finalizers(memory, tuple(name for name in observed.finalizers if name != FINALIZER))
        self._forget((observed.namespace, observed.name))

    # Loading.

    def _start_load(self, memory: _Memory) -> None:
        if memory.load_task is not None or memory.database is None:
            return
        memory.load = Load()
        name = f"load {memory.observed.namespace}/{memory.observed.name}"
        memory.load_task = asyncio.create_task(self._load(memory, memory.observed, memory.database), name=name)

    async def _stop_load(self, memory: _Memory) -> None:
        if (task := memory.load_task) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _load(self, memory: _Memory, observed: ObservedBatch, database: FollowedQueue) -> None:
        try:
            async with self._loads:
                started = time.monotonic()
                await self._load_jobs(memory, observed, database)
                memory.load = None
                await database.look(observed.batch_id)
            _LOGGER.info(
                "JobBatch %s/%s: %d jobs loaded in %.2f s",
                observed.namespace,
                observed.name,
                observed.total_jobs,
                time.monotonic() - started,
            )
        except (InvalidSourceError, InvalidBatchError, msgspec.ValidationError) as error:
            memory.load = Load(running=False, failure=(Reason.INVALID_SOURCE, str(error)))
        except (HammerworkError, ApiError) as error:
            _LOGGER.warning("JobBatch %s/%s: loading stopped: %s", observed.namespace, observed.name, error)
            memory.load, memory.trouble = None, (time.monotonic() + LOOK_AGAIN_SECONDS, _away(error))
        finally:
            memory.load_task = None
            if memory.load is not None and memory.load.running:
                memory.load = None
            self._queue.add((observed.namespace, observed.name))

    async def _load_jobs(self, memory: _Memory, observed: ObservedBatch, database: FollowedQueue) -> None:
        manifest = await self._server.get(PLURAL, observed.namespace, observed.name)
        if manifest is None or manifest["metadata"]["uid"] != observed.uid:
            return  # it is gone; the watch will tell
        raw = manifest["spec"]
        if spec_digest(raw) != observed.digest:
            return
        spec = msgspec.convert(raw, JobBatchSpec)
        batch, jobs = empty_batch(observed.namespace, observed.name, spec), sources.jobs(spec)
        identity: dict[str, Any] = {"batch_id": observed.batch_id, "fingerprint": observed.digest}
        if isinstance(jobs, list):
            await database.queue.enqueue_batch(batch.with_jobs(jobs), **identity)
        else:

            async def progress(count: int) -> None:
                memory.load = Load(jobs=count)
                await asyncio.sleep(0)

            await database.queue.enqueue_stream(batch, jobs, **identity, progress=progress)
        self._metrics.loaded_jobs.inc(observed.total_jobs)


async def _steer(database: FollowedQueue, observed: ObservedBatch, step: Step) -> None:
    queue, batch_id = database.queue, observed.batch_id
    try:
        if step is Step.SUSPEND:
            await queue.suspend_batch(batch_id)
        elif step is Step.RESUME:
            await queue.resume_batch(batch_id)
        else:
            await queue.cancel_batch(batch_id)
    except BatchNotFoundError:
        database.statuses.pop(batch_id, None)
    await database.look(batch_id)


async def _clear(database: FollowedQueue, observed: ObservedBatch, step: Step) -> None:
    if step is Step.REMOVE_ROWS:
        await database.queue.delete_batch(observed.batch_id)
        return
    with contextlib.suppress(BatchNotFoundError):
        await database.queue.cancel_batch(observed.batch_id)


def _needs_database(observed: ObservedBatch) -> bool:
    if observed.problem is not None:
        return False
    if observed.deleted_at is not None:
        return observed.has_finalizer and observed.spec.deletion_policy is not DeletionPolicy.ORPHAN
    return observed.has_finalizer and not is_finished(observed)


def _away(error: Exception | str) -> Trouble:
    return Trouble(Reason.DATABASE_UNAVAILABLE, f"the database cannot be used now: {error}", passing=True)


def _subject(observed: ObservedBatch) -> Subject:
    return Subject(kind=KIND, namespace=observed.namespace, name=observed.name, uid=observed.uid)
