"""Sets the scene of a run: server, network, workers, enqueuers; carries the plan out and gathers the evidence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from hammerwork import JobQueue, JobStatus
from hammerwork.errors import BatchNotFoundError, DatabaseUnavailableError, HammerworkError
from tests.chaos.enqueuer import enqueue, enqueue_killed, enqueue_twice, until_available
from tests.chaos.evidence import Evidence, Halt, Sighting, Trouble
from tests.chaos.places import Place
from tests.chaos.plan import Chaos, Enqueue
from tests.chaos.servers import server
from tests.chaos.verdict import judge
from tests.harness.ledger import read_ledger
from tests.harness.observing import all_jobs, sql
from tests.harness.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hammerwork import BatchStatus
    from tests.chaos.plan import Act, BatchPlan, Plan
    from tests.chaos.servers import Server

_DATABASE = "chaos"
_WATCH_SECONDS = 0.25
_LOOK_SECONDS = 1.0
_OF_ONE_WORKER = {Chaos.KILL, Chaos.STOP, Chaos.CANCEL}
_LEAST_SLACK_SECONDS = 1.0
_SILENCE_SECONDS = 75.0
"""How long a driver may wait for an answer on a connection that has fallen silent."""


class Report(msgspec.Struct, kw_only=True):
    """The result of one run."""

    faults: list[str]
    summary: list[str]
    folder: Path
    """What the run has left, for a closer look; removed if there are no faults."""


class Scene:
    """One run of a plan on one server."""

    def __init__(self, plan: Plan, target: Server, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._target = target
        self._folder = folder
        self._say = say
        self._begun = 0.0
        self._faults: list[str] = []
        self._troubles: list[Trouble] = []
        self._halts: list[Halt] = []
        self._places: list[Place] = []
        self._network = Proxy(target.port)
        self._down = asyncio.Lock()
        """Held while the server is not up, or forgets."""
        self._forgetting = False
        self._crashed_forgetting = 0
        self._claims: dict[tuple[int, UUID], Sighting] = {}
        self._slowest = 0.0
        """The longest that this process, or an answer of the healthy server, was late."""

    async def run(self, drain_seconds: float) -> Report:
        """Carry the plan out, wait until all batches have finished, and judge."""
        async with sql(self._target.url()) as connection:
            await connection.run(f"CREATE DATABASE {_DATABASE}")
        async with self._network, await JobQueue.connect(self._direct) as queue:
            await queue.create_tables()
            self._places = [
                Place(plan, database_url=self._proxied, folder=self._folder, lease_seconds=self._plan.lease_seconds)
                for plan in self._plan.workers
            ]
            self._begun = time.monotonic()
            staff = [asyncio.create_task(place.run()) for place in self._places]
            watches = [
                asyncio.create_task(watch) for watch in (self._watch(queue), self._watch_claims(), self._pulse())
            ]
            try:
                async with asyncio.timeout(self._plan.seconds + drain_seconds):
                    await self._drama(queue)
                    self._say("chaos is over, draining")
                    await self._drained(queue)
                    for place in self._places:
                        place.close()
                    await asyncio.gather(*staff)
            except TimeoutError:
                self._faults.append(f"not at the end {drain_seconds:g} s after the chaos: {await self._rest(queue)}")
            finally:
                for task in (*staff, *watches):
                    task.cancel()
                ends = await asyncio.gather(*staff, *watches, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):
                    raise end
            evidence = await self._gather(queue)
            self._faults += judge(evidence)
            await self._delete_all(queue)
            self._faults += [f"server log: {line}" for line in self._target.faults()]
            return Report(faults=self._faults, summary=self._summary(evidence), folder=self._folder)

    @property
    def _direct(self) -> str:
        return self._target.url(_DATABASE)

    @property
    def _proxied(self) -> str:
        return self._network.through(self._direct)

    async def _drama(self, queue: JobQueue) -> None:
        async with asyncio.TaskGroup() as group:
            for batch in self._plan.batches:
                group.create_task(self._perform_batch(queue, batch))
            for act in self._plan.acts:
                group.create_task(self._perform(act))

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._begun + at - time.monotonic()))

    async def _perform_batch(self, queue: JobQueue, batch: BatchPlan) -> None:
        await self._until(batch.at)
        try:
            await self._lastingly(lambda: self._enqueue(batch))
            await self._steer(queue, batch)
        except HammerworkError as error:
            self._faults.append(f"batch {batch.number}: {type(error).__name__}: {error}")

    async def _enqueue(self, batch: BatchPlan) -> None:
        if batch.enqueue is Enqueue.KILLED:
            await enqueue_killed(self._proxied, batch)
        if batch.enqueue is Enqueue.ONCE:
            await enqueue(self._proxied, batch)
        else:
            await enqueue_twice(self._proxied, batch)

    async def _lastingly(self, operation: Callable[[], Awaitable[object]]) -> None:
        """Repeat an operation until the database has answered it, and again if it may have forgotten it since."""
        while True:
            crashes = self._crashed_forgetting
            await until_available(operation)
            async with self._down:
                if self._crashed_forgetting == crashes:
                    return

    async def _steer(self, queue: JobQueue, batch: BatchPlan) -> None:
        if batch.cancel_after is not None:
            await asyncio.sleep(batch.cancel_after)
            await self._lastingly(lambda: queue.cancel_batch(batch.batch_id))
            self._halts.append(Halt(batch.batch_id, "cancelled", time.monotonic(), float("inf")))
        if batch.suspend_after is not None:
            await asyncio.sleep(batch.suspend_after)
            await self._lastingly(lambda: queue.suspend_batch(batch.batch_id))
            start = time.monotonic()
            await asyncio.sleep(batch.suspend_seconds)
            self._halts.append(Halt(batch.batch_id, "suspended", start, time.monotonic()))
            await self._lastingly(lambda: queue.resume_batch(batch.batch_id))

    async def _perform(self, act: Act) -> None:
        await self._until(act.at)
        place = self._places[act.worker]
        length = f" for {act.seconds:.1f} s" if act.seconds else ""
        self._say(f"{act.chaos.value}{f' {act.worker}' if act.chaos in _OF_ONE_WORKER else ''}{length}")
        start = time.monotonic()
        if act.chaos is Chaos.KILL:
            place.kill()
        elif act.chaos is Chaos.TERMINATE:
            for each in self._places:
                each.terminate()
        elif act.chaos is Chaos.CANCEL:
            place.cancel()
        elif act.chaos is Chaos.STOP:
            await place.stop(act.seconds)
        elif act.chaos is Chaos.SNAPSHOT:
            await self._hold_snapshot(act.seconds)
        else:
            await self._break_connection(act)
            end = time.monotonic() + (_SILENCE_SECONDS if act.chaos is Chaos.SILENCE else 0)
            self._troubles.append(Trouble(act.chaos, start, end))

    async def _break_connection(self, act: Act) -> None:
        if act.chaos is Chaos.FORGET:
            async with self._down:
                self._forgetting = True
                await self._target.forget()
                await asyncio.sleep(act.seconds)
                await asyncio.to_thread(self._target.stop, "immediate")
                self._crashed_forgetting += 1
                await asyncio.to_thread(self._target.start)
                await self._target.remember()
                self._forgetting = False
        elif act.chaos in {Chaos.RESTART, Chaos.CRASH}:
            async with self._down:
                await asyncio.to_thread(self._target.stop, "immediate" if act.chaos is Chaos.CRASH else "fast")
                try:
                    await asyncio.sleep(act.seconds)
                finally:
                    await asyncio.to_thread(self._target.start)
        elif act.chaos in {Chaos.CUT, Chaos.PARTITION, Chaos.DELAY}:
            self._network.hold()
            try:
                await asyncio.sleep(act.seconds)
                if act.chaos is not Chaos.DELAY:
                    self._network.cut()
            finally:
                self._network.deliver()
        else:
            self._network.strand()

    async def _hold_snapshot(self, seconds: float) -> None:
        begin = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ"
            if self._target.name == "postgres"
            else "START TRANSACTION WITH CONSISTENT SNAPSHOT"
        )
        # The server may be restarted meanwhile, and the snapshot with it.
        with contextlib.suppress(Exception):
            async with sql(self._direct) as connection:
                await connection.run(begin)
                await connection.value("SELECT count(*) FROM hammerwork_chunks")
                await asyncio.sleep(seconds)

    async def _pulse(self) -> None:
        while True:
            last = time.monotonic()
            await asyncio.sleep(0.05)
            self._slowest = max(self._slowest, time.monotonic() - last - 0.05)

    async def _watch(self, queue: JobQueue) -> None:
        """Look at the counters all the time: they must add up, and never go back."""
        last: dict[UUID, BatchStatus] = {}
        ids = [batch.batch_id for batch in self._plan.batches]
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            asked = time.monotonic()
            up = not self._down.locked()
            crashes = self._crashed_forgetting
            try:
                seen = await queue.get_batch_statuses(ids)
            except DatabaseUnavailableError:
                continue
            if up and not self._down.locked():
                self._slowest = max(self._slowest, time.monotonic() - asked)
            if crashes != self._crashed_forgetting:
                last = {}
                continue
            for batch_id, status in seen.items():
                self._faults += _counter_faults(last.get(batch_id), status)
            last = {} if self._forgetting else seen

    async def _watch_claims(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(Exception):  # the server may be down
                async with asyncio.timeout(_LOOK_SECONDS), sql(self._direct) as connection:
                    rows = await connection.rows("SELECT id, worker_id FROM hammerwork_claims")
                now = time.monotonic()
                for claim, worker in rows:
                    owner = worker if isinstance(worker, UUID) else UUID(bytes=worker)
                    first = self._claims.get((claim, owner), Sighting(claim, owner, now, now)).first
                    self._claims[claim, owner] = Sighting(claim, owner, first, now)

    async def _drained(self, queue: JobQueue) -> None:
        while await self._rest(queue):
            await asyncio.sleep(_WATCH_SECONDS)

    async def _rest(self, queue: JobQueue) -> list[str]:
        ids = [batch.batch_id for batch in self._plan.batches]
        statuses = await until_available(lambda: queue.get_batch_statuses(ids))
        return [
            f"{status.name} {status.state.value}: {status.pending_jobs} pending, {status.running_jobs} of them running"
            for status in statuses.values()
            if not status.finished
        ]

    async def _gather(self, queue: JobQueue) -> Evidence:
        ids = [batch.batch_id for batch in self._plan.batches]
        statuses = await until_available(lambda: queue.get_batch_statuses(ids))
        jobs = {batch_id: await all_jobs(queue, batch_id) for batch_id in statuses}
        wall_to_monotonic = time.monotonic() - time.time()
        slack = _LEAST_SLACK_SECONDS + 2 * self._slowest
        halts = list(self._halts)
        for batch_id, status in statuses.items():
            failures = [job.error.failed_at for job in jobs[batch_id] if job.status is JobStatus.FAILED and job.error]
            if status.state.value == "Failed" and failures:
                start = min(failures).timestamp() + wall_to_monotonic
                halts.append(Halt(batch_id, "failed", start, float("inf")))
        async with sql(self._direct) as connection:
            claims_left = int(await connection.value("SELECT count(*) FROM hammerwork_claims"))
        return Evidence(
            self._plan,
            read_ledger(self._folder / "ledger"),
            exits=[end for place in self._places for end in place.exits],
            troubles=self._troubles,
            halts=halts,
            statuses=statuses,
            jobs=jobs,
            claims=list(self._claims.values()),
            claims_left=claims_left,
            slack=slack,
            end=time.monotonic(),
        )

    async def _delete_all(self, queue: JobQueue) -> None:
        for batch in self._plan.batches:
            await queue.delete_batch(batch.batch_id)
            with contextlib.suppress(BatchNotFoundError):
                await queue.get_batch_status(batch.batch_id)
                self._faults.append(f"batch {batch.number}: is still there after its deletion")
        async with sql(self._direct) as connection:
            if rows := await connection.stored_rows():
                self._faults.append(f"rows are left after all batches were deleted: {rows}")
            workers = await connection.value("SELECT count(*) FROM hammerwork_workers")
            if workers > sum(len(place.exits) for place in self._places):
                self._faults.append(f"{workers} workers are registered, more than there ever were")

    def _summary(self, evidence: Evidence) -> list[str]:
        runs = evidence.ledger.runs
        jobs = sum(status.total_jobs for status in evidence.statuses.values())
        outcomes = {
            name: sum(getattr(status, f"{name}_jobs") for status in evidence.statuses.values())
            for name in ("completed", "failed", "cancelled")
        }
        counts = ", ".join(f"{count} {name}" for name, count in outcomes.items())
        exits = [end for place in self._places for end in place.exits]
        killed = sum(end.code == -9 for end in exits)
        blows = Counter(act.chaos.value for act in self._plan.acts)
        repeated = len(runs) - len({(run.job, run.attempt) for run in runs})
        return [
            f"{len(evidence.statuses)} batches, {jobs} jobs: {counts}",
            f"{len(runs)} runs, {repeated} of them repeated because a worker vanished",
            f"{len(self._plan.acts)} blows: {', '.join(f'{count} × {name}' for name, count in blows.items())}",
            f"{len(exits)} worker processes, {killed} were killed",
            f"{self._target.deadlocks()} deadlocks in the server's log; nothing was later than {self._slowest:.2f} s",
        ]


def _counter_faults(last: BatchStatus | None, now: BatchStatus) -> list[str]:
    faults = []
    if now.completed_jobs + now.failed_jobs + now.cancelled_jobs + now.pending_jobs != now.total_jobs:
        faults.append(f"{now.name}: the counters do not add up: {now}")
    if last is not None:
        for name in ("completed_jobs", "failed_jobs", "cancelled_jobs"):
            before, after = getattr(last, name), getattr(now, name)
            if after < before:
                faults.append(f"{now.name}: {name} went back from {before} to {after}")
        if last.finished and not now.finished:
            faults.append(f"{now.name}: is open again after it had finished")
    return faults


async def perform(
    plan: Plan, database: str, say: Callable[[str], None], *, drain_seconds: float, keep: bool = False
) -> Report:
    """Run a plan on a server of its own and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="hammerwork-chaos-"))
    starting = server(database)
    target = await asyncio.to_thread(starting.__enter__)
    # Drivers and loops log each connection that breaks, of which there are many.
    logs = logging.FileHandler(folder / "parent.log")
    logging.getLogger().addHandler(logs)
    try:
        report = await Scene(plan, target, folder, say).run(drain_seconds)
    finally:
        logging.getLogger().removeHandler(logs)
        logs.close()
        await asyncio.to_thread(starting.__exit__, None, None, None)
    if not report.faults and not keep:
        shutil.rmtree(folder)
    return report
