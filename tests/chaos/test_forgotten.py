"""A server forgets its last commits, or a replica never had them: all can be stored again, and all jobs end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from hammerwork import BatchState, DatabaseUnavailableError, Job, JobBatch, JobQueue, JobStatus, Worker
from hammerwork.backends.protocol import Settled
from hammerwork.ids import new_batch_id
from tests.chaos.enqueuer import until_available
from tests.harness.observing import all_jobs, eventually, happens, running, sql
from tests.harness.proxy import Proxy
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.mysql import mysql_server
from tests.harness.servers.postgres import postgres_replica, postgres_server
from tests.harness.steered import SteeredWorker, run_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from tests.chaos.servers import Server
    from tests.harness.observing import Sql

T = TypeVar("T")
JOBS = 5_000
TRIES_SECONDS = 60.0
"""A server may write a commit by chance before it crashes; then the test tries again."""


class RememberedError(Exception):
    """The server has kept what it was to forget."""


@contextlib.asynccontextmanager
async def forgetting(target: Server) -> AsyncIterator[None]:
    """Let a server lose at the end of the block what it has committed in it."""
    await target.forget()
    yield
    await asyncio.to_thread(target.stop, "immediate")
    await asyncio.to_thread(target.start)
    await target.remember()


@pytest.mark.parametrize("crash_at", [0, JOBS], ids=["before the first slice", "before the seal"])
async def test_a_load_that_was_forgotten_from_its_beginning_is_called_again(
    target: Server, database_url: str, crash_at: int
) -> None:
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        deadline = time.monotonic() + TRIES_SECONDS
        while True:
            batch_id = new_batch_id()
            async with contextlib.AsyncExitStack() as crash:
                await crash.enter_async_context(forgetting(target))

                async def reached(
                    stored: int, batch_id: UUID = batch_id, crash: contextlib.AsyncExitStack = crash
                ) -> None:
                    if stored == crash_at:
                        await crash.aclose()
                        async with sql(database_url) as connection:
                            if await connection.value(
                                "SELECT count(*) FROM hammerwork_batches WHERE id = $1", batch_id
                            ):
                                raise RememberedError

                async def jobs(reached: Callable[[int], Awaitable[None]] = reached) -> AsyncIterator[Job]:
                    await reached(0)
                    for n in range(JOBS):
                        yield Job("q", n)

                batch = JobBatch("mail", queue="q")
                try:
                    with pytest.raises(DatabaseUnavailableError, match="disappeared while its jobs were being loaded"):
                        await queue.enqueue_stream(batch, jobs(), batch_id=batch_id, progress=reached)
                    break
                except RememberedError:
                    assert time.monotonic() < deadline, "the server forgets nothing"
        again = (Job("q", n) for n in range(JOBS))
        assert await queue.enqueue_stream(batch, again, batch_id=batch_id) == batch_id
        assert [job.payload for job in await all_jobs(queue, batch_id)] == list(range(JOBS))


@pytest.mark.parametrize("more", [1, 3], ids=["and goes on", "and ends"])
async def test_a_claim_whose_report_was_forgotten_is_lost_at_once(target: Server, database_url: str, more: int) -> None:
    async with await JobQueue.connect(database_url) as queue, await JobQueue.connect(database_url) as later:
        await queue.create_tables()
        worker = SteeredWorker(queue)
        await worker.register()
        batch_id = await queue.enqueue_batch(JobBatch("mail").with_jobs(Job("q", n) for n in range(4)))
        held = await worker.take()
        async with forgetting(target):
            held.complete(held.start())
            assert await worker.report(held) is Settled.OK
        assert (await later.get_batch_status(batch_id)).completed_jobs == 0, "nothing was forgotten"
        worker.queue = later
        for _ in range(more):
            held.complete(held.start())
        assert await worker.report(held) is Settled.LOST
        async with sql(database_url) as connection:
            await connection.age_claims()
        assert (await worker.heartbeat([])).undelivered
        assert await worker.recover([]) == 4
        again = await worker.take()
        assert (run_of(again), await worker.end(again)) == ([0, 1, 2, 3], Settled.OK)
        status = await later.get_batch_status(batch_id)
        assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 4)


class Story:
    """Workers run a batch on a database that loses its last commits meanwhile, and another one is stored in between."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._workers = [Worker(queue, "q", self._run, lease_seconds=3.0).with_concurrency(8) for _ in range(3)]
        self._ran: Counter[tuple[UUID | None, int]] = Counter()
        self._batches = [JobBatch(name).with_jobs(Job("q", n) for n in range(JOBS)) for name in ("first", "second")]

    async def _run(self, job: Job) -> None:
        await asyncio.sleep(0.02)
        self._ran[job.batch_id, job.index] += 1

    async def _runs_more(self, jobs: int) -> None:
        end = self._ran.total() + jobs
        await happens(lambda: self._ran.total() >= end)

    async def tell(self, losing: contextlib.AbstractAsyncContextManager[None], new_url: str) -> None:
        """Go through it; what is committed within `losing` is lost at its end."""
        queue, (first, second) = self._queue, self._batches
        first_id = await queue.enqueue_batch(first.with_batch_size(50))
        async with running(*self._workers):
            await self._runs_more(1_000)
            kept = {job.index for job in await all_jobs(queue, first_id, JobStatus.COMPLETED)}
            async with losing:
                await self._runs_more(500)
                second_id = await queue.enqueue_batch(second)
                seen = (await queue.get_batch_status(first_id)).completed_jobs
            async with sql(new_url) as connection:
                remembered = await self._available(lambda: queue.get_batch_status(first_id))
                assert remembered.completed_jobs < seen, "nothing was forgotten"
                assert await self._available(lambda: queue.enqueue_batch(second)) == second_id
                await eventually(lambda: self._all_end(connection, {first_id, second_id}), bool, within=90)
                assert await connection.value("SELECT count(*) FROM hammerwork_claims") == 0
        statuses = await queue.get_batch_statuses([first_id, second_id])
        assert [statuses[each].completed_jobs for each in (first_id, second_id)] == [JOBS, JOBS]
        assert {self._ran[first_id, index] for index in kept} == {1}
        assert len(self._ran) == 2 * JOBS

    async def _all_end(self, connection: Sql, batch_ids: set[UUID]) -> bool:
        statuses = await self._available(lambda: self._queue.get_batch_statuses(batch_ids))
        left = [status for status in statuses.values() if not status.finished]
        # Only what no worker holds is left; it would go back after 20 s.
        idle = not any(worker.busy_lanes for worker in self._workers)
        if idle and left and all(status.pending_jobs == status.running_jobs for status in left):
            await connection.age_claims()
        return not left

    @staticmethod
    async def _available(operation: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(30):
            return await until_available(operation)


async def test_workers_go_on_after_their_claims_and_reports_were_forgotten(target: Server, database_url: str) -> None:
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        await Story(queue).tell(forgetting(target), database_url)


class Pair(NamedTuple):
    """A server and one that follows it."""

    url: str
    """Leads to the one that writes."""
    replica_url: str
    losing: contextlib.AbstractAsyncContextManager[None]
    """Lets the replica get nothing within the block; at its end the primary dies, and the replica takes its place."""


async def postgres_pair(stack: contextlib.AsyncExitStack) -> Pair:
    """Clients know both servers, and take the one that writes."""
    primary = await in_thread(stack, postgres_server())
    async with sql(primary.url()) as connection:
        await connection.run("CREATE DATABASE jobs")
    network = await stack.enter_async_context(Proxy(primary.port))
    replica = await in_thread(stack, postgres_replica(network.port))
    both = f"127.0.0.1:{primary.port},127.0.0.1:{replica.port}"

    @contextlib.asynccontextmanager
    async def losing() -> AsyncIterator[None]:
        async with sql(primary.url()) as here, sql(replica.url()) as there:
            position = await here.value("SELECT pg_current_wal_lsn()::text")
            await eventually(lambda: there.value("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position), bool)
        network.hold()
        yield
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(replica.promote)

    url = f"postgresql://postgres@{both}/jobs?target_session_attrs=read-write"
    return Pair(url, replica.url("jobs"), losing())


class Replication(NamedTuple):
    """How a server of MySQL's kind is followed."""

    server: Any
    """Starts one with settings."""
    settings: dict[str, str]
    """What makes it write a log that others can follow."""
    follow: tuple[str, ...]
    """Lets a server follow the one at a port."""
    position: str
    """Asks how far a server has written its log."""
    reached: str
    """Waits until a server has come so far; 0: it has."""


MYSQL = {
    "mariadb": Replication(
        server=mariadb_server,
        settings={"binlog_format": "ROW"},
        follow=(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root'",
            "CHANGE MASTER TO MASTER_USE_GTID=slave_pos",
            "START REPLICA",
        ),
        position="SELECT @@gtid_binlog_pos",
        reached="SELECT MASTER_GTID_WAIT($1, 30)",
    ),
    "mysql": Replication(
        server=mysql_server,
        settings={"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "sync_binlog": "0"},
        follow=(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_AUTO_POSITION=1",
            "START REPLICA USER = 'root'",
        ),
        position="SELECT @@GLOBAL.gtid_executed",
        reached="SELECT WAIT_FOR_EXECUTED_GTID_SET($1, 30)",
    ),
}


async def mysql_pair(stack: contextlib.AsyncExitStack, how: Replication) -> Pair:
    """Clients know one address, which moves."""
    primary, replica = [
        await in_thread(stack, how.server({**how.settings, "log_bin": "log", "server_id": number}))
        for number in ("1", "2")
    ]
    address = await stack.enter_async_context(Proxy(primary.port))
    async with sql(primary.url()) as here, sql(replica.url()) as there:
        await here.run("CREATE DATABASE jobs")
        for statement in how.follow:
            await there.run(statement.format(port=primary.port))

    @contextlib.asynccontextmanager
    async def losing() -> AsyncIterator[None]:
        async with sql(primary.url()) as here, sql(replica.url()) as there:
            assert await there.value(how.reached, await here.value(how.position)) == 0, "the replica does not follow"
            await there.run("STOP REPLICA")
            yield
            await asyncio.to_thread(primary.stop, "immediate")
            await there.run("RESET REPLICA ALL")
        address.move(replica.port)

    return Pair(address.through(primary.url("jobs")), replica.url("jobs"), losing())


async def in_thread(stack: contextlib.AsyncExitStack, starting: contextlib.AbstractContextManager[T]) -> T:
    """Start a server while this loop passes on what it sends."""
    stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
    return await asyncio.to_thread(starting.__enter__)


@pytest.mark.parametrize("kind", ["postgres", *MYSQL])
async def test_workers_go_on_at_a_replica_that_lags_behind(kind: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pair = await (postgres_pair(stack) if kind == "postgres" else mysql_pair(stack, MYSQL[kind]))
        queue = await stack.enter_async_context(await JobQueue.connect(pair.url))
        await queue.create_tables()
        await Story(queue).tell(pair.losing, pair.replica_url)
