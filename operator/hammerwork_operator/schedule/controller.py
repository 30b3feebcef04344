"""Makes and deletes the JobBatches that `plan` decides on for JobBatchSchedules, and writes what `status` computes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hammerwork_operator.api import jobbatch
from hammerwork_operator.api.jobbatchschedule import KIND, PLURAL
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import events, statuses
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.notes import Note
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.schedule import status
from hammerwork_operator.schedule.due import zone_of
from hammerwork_operator.schedule.facts import Facts, Failure, child_of, owner_of
from hammerwork_operator.schedule.gathering import children_of
from hammerwork_operator.schedule.memory import Memory
from hammerwork_operator.schedule.observed import observe
from hammerwork_operator.schedule.plan import decide
from hammerwork_operator.schedule.template import batch_name, build_batch
from hammerwork_operator.tasks import KeptTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics
    from hammerwork_operator.schedule.due import Due
    from hammerwork_operator.schedule.facts import Child

_FORBIDDEN_PAUSE = timedelta(seconds=60)
"""A batch that a quota, a webhook or missing rights forbid is tried again so much later."""
TICK_SECONDS = 0.5
"""How often the clock is looked at. Nothing sleeps until a scheduled time: clocks are set, and machines sleep too."""
_PARALLEL = 10
"""A list of JobBatches may have some MiB."""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class JobBatchScheduleController:
    """Makes JobBatches at their times. The watch calls `seen` and `batch_seen` for every change."""

    def __init__(self, server: ApiServer, metrics: Metrics, clock: Callable[[], datetime] = utc_now) -> None:
        self._server = server
        self._metrics = metrics
        self._clock = clock
        self._queue = Workqueue(KIND, self._reconcile, metrics, parallel=_PARALLEL)
        self._memory: dict[Key, Memory] = {}
        self._ticking: KeptTask | None = None

    def seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a schedule as the API server has it now."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        memory = self._memory.get(key)
        if memory is not None and deleted is (memory.observed.uid == metadata["uid"]):  # gone, or replaced
            memory = None
            del self._memory[key]
        if deleted:
            return
        if memory is None:
            self._memory[key] = Memory(observe(manifest, self._clock()))
        else:
            if statuses.is_older(metadata, memory.observed.resource_version):
                memory.doubted = True
                self._queue.add(key)
                return
            observed = observe(manifest, self._clock(), memory.observed)
            if observed == memory.observed:
                return  # what the last write of its status has made
            memory.observed = observed
        if self._ticking is None:
            self._ticking = KeptTask("clock", f"{KIND} clock", self._tick, self._metrics)
        self._queue.add(key)

    def batch_seen(self, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take note of a JobBatch as the API server has it now; its progress changes nothing here."""
        if (owner := owner_of(manifest)) is None:
            return
        key = (manifest["metadata"]["namespace"], owner[0])
        memory = self._memory.get(key)
        if memory is None or memory.observed.uid != owner[1]:
            return
        child = child_of(manifest)
        if deleted:
            memory.children.pop(child.uid, None)
        elif memory.children.get(child.uid) == child:
            return
        else:
            memory.children[child.uid] = child
        self._queue.add(key)

    async def stop(self) -> None:
        """End all work."""
        if self._ticking is not None:
            await self._ticking.stop()
        await self._queue.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock()
            for key, memory in self._memory.items():
                if memory.wake is not None and memory.wake <= now:
                    memory.wake = None
                    self._queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        memory = self._memory.get(key)
        if memory is not None and memory.doubted:
            await self._read(memory)
            return 0.0
        if memory is None or memory.observed.deleted:
            return None  # the batches go with their owner
        observed = memory.observed
        children = await children_of(self._server, observed)
        memory.children = {child.uid: child for child in children}
        memory.deleted &= memory.children.keys() | {entry["uid"] for entry in observed.status.get("active") or ()}
        if memory.observed is not observed:
            return 0.0  # it has changed meanwhile
        plan = decide(observed, self._facts(memory, children), self._clock())
        memory.wake = plan.wake
        if plan.delete:  # how a batch has ended is told as long as it is there
            await self._write_status(memory, self._facts(memory, children), plan.due)
        for child in plan.delete:
            await self._delete(memory, child)
        if plan.create is not None:
            again = await self._create(memory, plan.create, children)
            if again is not None:
                await self._tell(memory, plan.due)
            return again
        if plan.delete:
            return 0.0
        await self._write_status(memory, self._facts(memory, children), plan.due)
        await self._tell(memory, plan.due)
        return None

    async def _read(self, memory: Memory) -> None:
        """Take the schedule as it is, also if it is older than what was known of it."""
        before = memory.observed
        manifest = await self._server.get(PLURAL, before.namespace, before.name)
        memory.doubted = False
        if memory.observed is not before:
            return  # the watch has brought a newer one meanwhile
        if manifest is None or manifest["metadata"]["uid"] != before.uid:
            self._forget(memory)
        else:
            memory.observed = observe(manifest, self._clock(), before)

    def _forget(self, memory: Memory) -> None:
        """Forget a schedule that is gone; the watch may have brought another of its name."""
        key = (memory.observed.namespace, memory.observed.name)
        if self._memory.get(key) is memory:
            del self._memory[key]

    def _facts(self, memory: Memory, children: tuple[Child, ...]) -> Facts:
        return Facts(children=children, made=memory.made, failure=memory.failure)

    async def _delete(self, memory: Memory, child: Child) -> None:
        observed = memory.observed
        try:
            await self._server.delete(jobbatch.PLURAL, observed.namespace, child.name, child.uid)
        except ApiError as error:
            if not error.not_found and not error.conflict:
                raise
            return
        memory.deleted.add(child.uid)
        await self._record(memory, Note(reason=Reason.SUCCESSFUL_DELETE, message=f"deleted batch {child.name}"))

    async def _create(self, memory: Memory, scheduled: datetime, children: tuple[Child, ...]) -> float | None:
        """Make the JobBatch of a scheduled time; return the seconds after which to look again, None if all is gone."""
        observed = memory.observed
        manifest = await self._server.get(PLURAL, observed.namespace, observed.name)
        if manifest is None or manifest["metadata"]["uid"] != observed.uid:
            self._forget(memory)
            return None
        if manifest["metadata"]["generation"] != observed.generation:
            self.seen(manifest)
            return 0.0
        zone = zone_of(observed.spec)
        assert zone is not None
        batch = build_batch(observed.subject, manifest["spec"]["template"], scheduled, zone)
        try:
            await self._server.create(jobbatch.PLURAL, batch)
        except ApiError as error:
            if error.conflict:
                await self._is_there(memory, scheduled)
            else:
                await self._failed(memory, scheduled, error, children)
            return 0.0
        self._metrics.schedule_delay.observe(max(0.0, (self._clock() - scheduled).total_seconds()))
        memory.made, memory.failure = scheduled, None
        name = batch["metadata"]["name"]
        await self._record(memory, Note(reason=Reason.SUCCESSFUL_CREATE, message=f"created batch {name}"))
        return 0.0

    async def _is_there(self, memory: Memory, scheduled: datetime) -> None:
        """Take note that there is a JobBatch of that name: ours, made before, or not ours."""
        observed, name = memory.observed, batch_name(memory.observed.name, scheduled)
        found = await self._server.get(jobbatch.PLURAL, observed.namespace, name)
        if found is None:
            return  # it has gone again
        if owner_of(found) == (observed.name, observed.uid):
            memory.made, memory.failure = scheduled, None
            return
        message = (
            f"JobBatch {name} is not the schedule's, so there is none for its time; rename or delete one of the two"
        )
        self._note_failure(memory, scheduled, Obstacle(Reason.NAME_CONFLICT, message))

    async def _failed(self, memory: Memory, scheduled: datetime, error: ApiError, children: tuple[Child, ...]) -> None:
        message = f"creating JobBatch {batch_name(memory.observed.name, scheduled)} failed: {error.message}"
        known = memory.failure
        again = known is not None and known.scheduled == scheduled
        obstacle = Obstacle(Reason.FAILED_CREATE, message, passing=not error.refused)
        retry_at = self._clock() + _FORBIDDEN_PAUSE if error.forbidden else None
        self._note_failure(memory, scheduled, obstacle, retry_at)
        if error.refused:
            return
        if again:  # most such failures are over at the next try
            facts = self._facts(memory, children)
            await self._write_status(memory, facts, decide(memory.observed, facts, self._clock()).due)
        raise error

    @staticmethod
    def _note_failure(memory: Memory, scheduled: datetime, obstacle: Obstacle, again: datetime | None = None) -> None:
        generation = memory.observed.generation
        memory.failure = Failure(generation=generation, scheduled=scheduled, obstacle=obstacle, again=again)

    async def _write_status(self, memory: Memory, facts: Facts, due: Due) -> None:
        observed = memory.observed
        wanted = status.compute(observed, facts, due, self._clock())
        change = statuses.patch(observed.status, wanted)
        if change is None:
            return
        try:
            version = await statuses.write(self._server, self._metrics, PLURAL, observed.subject, change)
        except ApiError as error:
            if error.not_found:
                self._forget(memory)
                return
            raise
        memory.observed = memory.observed.with_status(wanted, version)
        for note in status.notes(observed.status, wanted, facts, memory.deleted):
            await self._record(memory, note)

    async def _tell(self, memory: Memory, due: Due) -> None:
        """Record what is told once of a scheduled time, also if a process before this one did."""
        for scheduled, note in status.told(due):
            if memory.told.get(note.reason) != scheduled:
                memory.told[note.reason] = scheduled
                await events.record(self._server, memory.observed.subject, [note], again=False)

    async def _record(self, memory: Memory, note: Note) -> None:
        await events.record(self._server, memory.observed.subject, [note])
