"""Carries out what `plan` decides for JobBatches and writes what `status` computes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from hammerwork.errors import BatchConflictError, BatchNotFoundError, DatabaseError
from hammerwork_operator.api.jobbatch import KIND, PLURAL
from hammerwork_operator.api.names import FINALIZER
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.contents import ContentChangedError, ContentReader
from hammerwork_operator.jobbatch.dependencies import DependencyIndex
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.gathering import Gatherer
from hammerwork_operator.jobbatch.loading import Loader, Loading
from hammerwork_operator.jobbatch.memory import Memory
from hammerwork_operator.jobbatch.observed import ObservedBatch, observe
from hammerwork_operator.jobbatch.plan import Plan, Step, decide, is_kept
from hammerwork_operator.jobbatch.pools import ServingPools
from hammerwork_operator.jobbatch.retrying import differs, is_asked, retry_arguments
from hammerwork_operator.jobbatch.speed import advance, speed
from hammerwork_operator.kube import events, statuses
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.workqueue import Key, Workqueue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork import BatchStatus
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.databases.followed import FollowedQueue
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics

_LOGGER = logging.getLogger(__name__)

_RECORDED = ("satisfiedDependencies", "contentDigest")
"""Fields of the status that `plan` waits for before it has jobs loaded."""


class JobBatchController:
    """Brings JobBatches to their end. The watch calls `seen` for every change of an object."""

    def __init__(
        self,
        server: ApiServer,
        databases: Databases,
        metrics: Metrics,
        *,
        cluster: str = "",
        allows_queries: bool = False,
    ) -> None:
        self._server = server
        self._cluster = cluster
        self._databases = databases
        self._allows_queries = allows_queries
        self._metrics = metrics
        self._queue = Workqueue(KIND, self._reconcile, metrics)
        self._memory: dict[Key, Memory] = {}
        self._contents = ContentReader(server)
        self._loader = Loader(server, self._contents, metrics)
        self._dependencies = DependencyIndex()
        self._pools = ServingPools()

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of an object as the API server has it now."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        memory = self._memory.get(key)
        if memory is not None and deleted is (memory.observed.uid == metadata["uid"]):  # gone, or replaced
            self._forget(key)
            memory = None
        if deleted:
            return
        if memory is None:
            self._memory[key] = self._remember(key, observe(manifest, cluster=self._cluster))
        else:
            known = memory.observed
            if statuses.is_older(metadata, known.resource_version):
                memory.doubted = True
                self._queue.add(key)
                return
            unchanged = metadata["generation"] == known.generation
            fingerprint = known.spec_fingerprint if unchanged else None
            memory.observed = observe(manifest, fingerprint=fingerprint, cluster=self._cluster)
            if memory.observed.status not in (known.status, memory.written) and statuses.has_other_writer(metadata):
                memory.edited = True
                memory.gatherer.look_again()
        self._wake(self._dependencies.seen(self._memory[key].observed))
        self._queue.add(key)

    def pool_seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a WorkerPool as the API server has it now."""
        if changed := self._pools.seen(manifest, deleted=deleted):
            self._wake(key for key, each in self._memory.items() if (key[0], each.observed.spec.queue) in changed)

    def listed(self) -> None:
        """Take note that all objects there are have been seen."""
        self._pools.listed()
        self._dependencies.listed()
        self._wake(key for key, memory in self._memory.items() if memory.gatherer.database is not None)

    async def stop(self) -> None:
        """End all work. What is half loaded is taken up again by the next process."""
        await self._queue.stop()
        loadings = [memory.loading for memory in self._memory.values()]
        for key in list(self._memory):
            self._forget(key)
        await asyncio.gather(*(loading.stop() for loading in loadings))

    def _remember(self, key: Key, observed: ObservedBatch) -> Memory:
        gatherer = Gatherer(
            self._databases, self._contents, lambda: self._queue.add(key), allows_queries=self._allows_queries
        )

        def load_ended(error: Exception | None) -> None:
            if isinstance(error, ContentChangedError):
                if (memory := self._memory.get(key)) is not None:
                    memory.observed = memory.observed.with_content(None)
            elif error is None:
                gatherer.succeeded()
            else:
                gatherer.failed(error)
            self._queue.add(key)

        return Memory(observed, gatherer, Loading(self._loader, load_ended))

    def _rest(self, key: Key, memory: Memory) -> None:
        """Leave the batch alone until something changes; have a look at one that has finished now and then."""
        memory.rest()
        if memory.observed.stated.finished and is_kept(memory.observed):
            memory.gatherer.watch(memory.observed, lambda row: self._found(key, row))

    def _found(self, key: Key, row: BatchStatus) -> None:
        """Take note of the batch of a finished object."""
        memory = self._memory.get(key)
        if memory is not None and differs(memory.observed, row):
            memory.gatherer.look_again()
            self._queue.add(key)

    def _forget(self, key: Key) -> None:
        if (memory := self._memory.pop(key, None)) is not None:
            memory.rest()
            self._wake(self._dependencies.gone(key))

    def _wake(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        memory = self._memory.get(key)
        if memory is not None and memory.doubted:
            await self._read(memory)
            return 0.0
        if memory is None or memory.observed.managed_elsewhere:
            return None
        try:
            return await self._bring_on(key, memory)
        finally:
            if self._memory.get(key) is not memory:
                memory.rest()  # the object vanished meanwhile: what was begun for it since then is left

    async def _bring_on(self, key: Key, memory: Memory) -> float | None:
        asked_of = memory.observed.batch_id
        facts = await self._facts(memory)
        if self._memory.get(key) is not memory:
            return None
        if memory.observed.batch_id != asked_of:
            return 0.0  # the watch has brought the object meanwhile, without what was found out of which batch it is
        if facts.of_former or facts.content is not None:
            memory.observed = _identified(memory.observed, facts)
            return 0.0
        observed = memory.observed
        plan = decide(observed, facts, datetime.now(UTC))
        try:
            rest = None
            if observed.deleted_at is None and not _is_told_later(plan, facts, memory):
                rest = await self._write_status(memory, facts)
            again = await self._carry_out(memory, plan)
            if facts.obstacle is None and facts.load is None and plan.step is not Step.LOAD:
                memory.gatherer.succeeded()
        except DatabaseError as error:
            memory.gatherer.failed(error)
            return 0.0
        except ApiError as error:
            if error.not_found:
                self._forget(key)
                return None
            raise
        if _has_settled(memory.observed, facts, plan):
            self._rest(key, memory)
        return min((seconds for seconds in (rest, again) if seconds is not None), default=None)

    async def _read(self, memory: Memory) -> None:
        """Take the object as it is, also if it is older than what was known of it."""
        before = memory.observed
        manifest = await self._server.get(PLURAL, before.namespace, before.name)
        memory.doubted = False
        if memory.observed is not before:
            return  # the watch has brought a newer one meanwhile
        if manifest is None:
            self._forget((before.namespace, before.name))
        elif manifest["metadata"]["uid"] == before.uid:
            memory.observed = observe(manifest, cluster=self._cluster)
            self._wake(self._dependencies.seen(memory.observed))

    async def _facts(self, memory: Memory) -> Facts:
        dependencies = self._dependencies.of(memory.observed)
        if dependencies.reason is not None:
            return Facts(dependencies=dependencies)
        facts = await memory.gatherer.gather(memory.observed, memory.loading.load)
        by_pool = self._pools.serve(memory.observed.namespace, memory.observed.spec.queue)
        served = memory.gatherer.served(facts.row, by_pool)
        facts = msgspec.structs.replace(facts, dependencies=dependencies, served=served)
        if (row := facts.row) is None:
            return facts
        memory.progress = advance(memory.progress, row, datetime.now(UTC))
        return msgspec.structs.replace(facts, speed=speed(memory.progress, row))

    async def _write_status(self, memory: Memory, facts: Facts) -> float | None:
        """Write the status if it changed; return the seconds to wait if it was written a moment ago.

        What has to be recorded before jobs are loaded does not hold up the status that tells of the load.
        """
        observed = memory.observed
        wanted = status.compute(observed, facts, datetime.now(UTC))
        change = statuses.patch(observed.status, wanted)
        if change is None:
            await self._tell_of_edit(memory, facts)
            return None
        if (rest := memory.pace.rest(progress_only=status.same_reason(observed.status, wanted))) > 0:
            return rest
        memory.written = wanted
        records = any(observed.status.get(key) != wanted.get(key) for key in _RECORDED)
        with contextlib.nullcontext() if records else memory.pace.writing():
            version = await statuses.write(self._server, self._metrics, PLURAL, observed.subject, change)
        memory.observed = memory.observed.with_status(wanted, version)
        if self._memory.get((observed.namespace, observed.name)) is memory:
            self._wake(self._dependencies.seen(memory.observed))
        notes = status.notes(observed.status, wanted, edited=memory.edited)
        memory.edited = False
        await events.record(self._server, observed.subject, notes)
        return 0.0 if records else None

    async def _tell_of_edit(self, memory: Memory, facts: Facts) -> None:
        if memory.edited and memory.observed.stated.finished and facts.row is None and facts.obstacle is None:
            await events.record(self._server, memory.observed.subject, [status.NOT_REPAIRED])
        memory.edited = False

    async def _carry_out(self, memory: Memory, plan: Plan) -> float | None:  # noqa: PLR0911 (one per step)
        observed, database = memory.observed, memory.gatherer.database
        match plan.step:
            case Step.ADD_FINALIZER:
                await self._set_finalizers(memory, (*observed.finalizers, FINALIZER))
                return 0.0
            case Step.LOAD if database is not None:
                memory.loading.start(observed, database)
                return statuses.PAUSE_SECONDS
            case Step.SUSPEND | Step.RESUME | Step.CANCEL | Step.RETRY if database is not None:
                await _steer(database, observed, plan.step)
                return 0.1
            case Step.REMOVE_ROWS | Step.CANCEL_ROWS if database is not None:
                await memory.loading.stop()
                await _clear(database, observed, plan.step)
                await self._release(memory, None)
                return None
            case Step.RELEASE:
                await memory.loading.stop()
                await self._release(memory, plan.orphaned)
                return None
            case Step.DELETE_OBJECT if self._dependencies.is_awaited((observed.namespace, observed.name)):
                return statuses.PAUSE_SECONDS  # until those that wait for it have taken note of its end
            case Step.DELETE_OBJECT:
                await self._server.delete(PLURAL, observed.namespace, observed.name, observed.uid)
                return None
            case _:
                return plan.after

    async def _set_finalizers(self, memory: Memory, finalizers: tuple[str, ...]) -> None:
        observed = memory.observed
        answer = await self._server.set_finalizers(
            PLURAL, observed.namespace, observed.name, finalizers, resource_version=observed.resource_version
        )
        memory.observed = observed.with_finalizers(finalizers, answer["metadata"]["resourceVersion"])

    async def _release(self, memory: Memory, orphaned: str | None) -> None:
        observed = memory.observed
        if orphaned is not None:
            _LOGGER.warning(
                "JobBatch %s/%s: its rows stay in the database: %s", observed.namespace, observed.name, orphaned
            )
            message = (
                f"batch {observed.batch_id} may still be in the database, because it could not be removed: {orphaned}"
            )
            note = Note(reason=Reason.ROWS_ORPHANED, message=message, warning=True)
            await events.record(self._server, observed.subject, [note])
        await self._set_finalizers(memory, tuple(name for name in observed.finalizers if name != FINALIZER))
        self._forget((observed.namespace, observed.name))


def _identified(observed: ObservedBatch, facts: Facts) -> ObservedBatch:
    """Return the object with what was found out of which batch it is."""
    return observed.as_former() if facts.of_former else observed.with_content(facts.content)


async def _steer(database: FollowedQueue, observed: ObservedBatch, step: Step) -> None:
    queue, batch_id = database.queue, observed.batch_id
    with contextlib.suppress(BatchNotFoundError):
        if step is Step.SUSPEND:
            await queue.suspend_batch(batch_id)
        elif step is Step.RESUME:
            await queue.resume_batch(batch_id)
        elif step is Step.RETRY:
            with contextlib.suppress(BatchConflictError):  # somebody else was first, and it runs
                await queue.retry_failed(batch_id, **retry_arguments(observed))
        else:
            await queue.cancel_batch(batch_id)
    await database.look(batch_id)


def _is_told_later(plan: Plan, facts: Facts, memory: Memory) -> bool:
    """Return whether a status would tell of what is about to change: a load that begins, an end that is undone."""
    undone = plan.step is Step.RETRY and facts.met is None
    return plan.step in {Step.ADD_FINALIZER, Step.LOAD} or memory.loading.is_young or undone


def _has_settled(observed: ObservedBatch, facts: Facts, plan: Plan) -> bool:
    """Return whether the batch may be left alone: nothing is left to do, to say or to ask for."""
    if observed.stated.finished and facts.row is not None and differs(observed, facts.row):
        return False
    return plan.step is Step.REST or (observed.stated.finished and not is_asked(observed))


async def _clear(database: FollowedQueue, observed: ObservedBatch, step: Step) -> None:
    if step is Step.REMOVE_ROWS:
        await database.queue.delete_batch(observed.batch_id)
        return
    with contextlib.suppress(BatchNotFoundError):
        await database.queue.cancel_batch(observed.batch_id)
