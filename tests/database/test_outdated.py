"""A newer version has said that older ones must not work on the database any more: they find out, and end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hammerwork import DatabaseUnavailableError, IncompatibleDatabaseError, Job, JobQueue, Worker, WorkerPool
from hammerwork_operator.api.common import DatabaseSecretRef
from hammerwork_operator.databases.followed import FollowedQueue
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.kube.client import ApiServer
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.pods.recovering import ClaimRecovery
from tests.harness.batches import batch
from tests.harness.observing import DEADLINE_SECONDS, eventually, happens, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.harness.observing import Sql

SENTENCE = "of version 99, which version 98 or later can work with"
HANDLER = "async def run(job):\n    pass\n"


async def outdate(sql: Sql) -> None:
    await sql.run("UPDATE hammerwork_migrations SET version = 99, least = 98")


async def break_statements(sql: Sql, database_url: str) -> None:
    """Take away what statements of this version call, as a migration does that they would do harm to."""
    if database_url.startswith("postgres"):
        for (function,) in await sql.rows(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE proname IN "
            "('hammerwork_exchange_1', 'hammerwork_enqueue_1', 'hammerwork_heartbeat_1')"
        ):
            await sql.run(f"DROP FUNCTION {function}")
    else:
        await sql.run("ALTER TABLE hammerwork_chunks RENAME TO hammerwork_parts")
        await sql.run("ALTER TABLE hammerwork_workers RENAME TO hammerwork_hands")


class Gate:
    """A handler whose jobs wait until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.started = 0

    async def __call__(self, _job: Job) -> None:
        self.started += 1
        await self.opened.wait()


async def test_a_running_worker_finishes_what_runs_gives_the_rest_back_and_ends(
    queue: JobQueue, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    batch_id = await queue.enqueue_batch(batch(50))
    gate = Gate()
    worker = Worker(queue, "q", gate, lease_seconds=3.0).with_concurrency(2)
    run = asyncio.create_task(worker.run())
    await happens(lambda: gate.started == 2)
    await outdate(sql)
    await happens(lambda: "this worker stops" in caplog.text)
    assert not run.done()
    gate.opened.set()
    with pytest.raises(IncompatibleDatabaseError, match=SENTENCE):
        await asyncio.wait_for(run, DEADLINE_SECONDS)
    status = await queue.get_batch_status(batch_id)
    assert (status.completed_jobs, status.running_jobs, status.pending_jobs) == (2, 0, 48)
    assert gate.started == 2
    assert await queue.get_workers() == []


async def test_a_worker_whose_statements_are_gone_does_not_wait_for_its_jobs(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    await queue.enqueue_batch(batch(50))
    gate, idle = Gate(), Gate()
    worker = Worker(queue, "q", gate, lease_seconds=3.0).with_concurrency(2).with_shutdown_grace_period(600)
    other = Worker(queue, "other", idle).with_shutdown_grace_period(600)
    pool = WorkerPool().add_worker(worker).add_worker(other)
    run = asyncio.create_task(pool.start())
    await happens(lambda: gate.started == 2)
    await break_statements(sql, database_url)
    await outdate(sql)
    with pytest.raises(IncompatibleDatabaseError, match=SENTENCE):
        await asyncio.wait_for(run, DEADLINE_SECONDS)
    assert gate.started == 2


async def test_a_program_that_connects_is_refused(queue: JobQueue, sql: Sql, database_url: str) -> None:
    await queue.check_version()
    await outdate(sql)
    with pytest.raises(IncompatibleDatabaseError, match=SENTENCE):
        await JobQueue.connect(database_url)
    with pytest.raises(IncompatibleDatabaseError, match=SENTENCE):
        await queue.check_version()


async def test_a_running_program_is_told_when_its_statement_is_refused(
    queue: JobQueue, sql: Sql, database_url: str
) -> None:
    await break_statements(sql, database_url)
    with pytest.raises(DatabaseUnavailableError, match="tables missing or out of date"):
        await queue.enqueue_batch(batch(1))
    await outdate(sql)
    with pytest.raises(IncompatibleDatabaseError, match=SENTENCE):
        await queue.enqueue_batch(batch(1))


async def test_a_worker_waits_for_the_tables_of_a_database_without_any(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await JobQueue.connect(database_url) as queue:
        await queue.check_version()
        gate = Gate()
        gate.opened.set()
        async with running(Worker(queue, "q", gate, lease_seconds=1.0)):
            await happens(lambda: "tables missing or out of date" in caplog.text)
            await queue.create_tables()
            await queue.enqueue_batch(batch(1))
            await happens(lambda: gate.started == 1)


@pytest.fixture
async def program(tmp_path: Path, database_url: str) -> AsyncIterator[Program]:
    (tmp_path / "handlers.py").write_text(HANDLER)
    program = Program(tmp_path, database_url)
    yield program
    await program.end()


class Program:
    """A program of ours on the database."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "HAMMERWORK_DATABASE_URL": url}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, **settings: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=self._folder,
            env=self._environment | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def ended(self) -> tuple[int | None, str]:
        """Return exit code and output once it has ended."""
        assert self._process is not None
        out, _ = await asyncio.wait_for(self._process.communicate(), DEADLINE_SECONDS)
        return self._process.returncode, out.decode()

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self.ended()


COMMAND = str(Path(sys.executable).with_name("hammerwork"))
WORKERS = {
    "container": (sys.executable, "-m", "hammerwork_worker"),
    "processes": (COMMAND, "worker", "--queue", "q", "--handler", "handlers.py:run", "--processes", "2"),
}


@pytest.mark.parametrize("kind", WORKERS)
async def test_worker_processes_end_with_3(queue: JobQueue, sql: Sql, program: Program, kind: str) -> None:
    await program.start(*WORKERS[kind], HAMMERWORK_QUEUE="q", HAMMERWORK_HANDLER="handlers.py:run", HAMMERWORK_PORT="0")

    async def workers() -> int:
        return len(await queue.get_workers())

    await eventually(workers, lambda count: count == (2 if kind == "processes" else 1))
    await outdate(sql)
    code, said = await program.ended()
    assert code == 3, said
    assert SENTENCE in said
    assert "Traceback" not in said
    assert await workers() == 0


@pytest.mark.parametrize("arguments", [WORKERS["container"], WORKERS["processes"], (COMMAND, "depth")])
async def test_programs_that_start_end_with_3(
    queue: JobQueue,  # noqa: ARG001 (its tables)
    sql: Sql,
    program: Program,
    arguments: tuple[str, ...],
) -> None:
    await outdate(sql)
    await program.start(*arguments, HAMMERWORK_QUEUE="q", HAMMERWORK_HANDLER="handlers.py:run", HAMMERWORK_PORT="0")
    code, said = await program.ended()
    assert code == 3, said
    assert SENTENCE in said
    assert "Traceback" not in said


async def test_the_operator_says_it_and_writes_nothing_more(queue: JobQueue, sql: Sql) -> None:
    batch_id = await queue.enqueue_batch(batch(1))
    database = FollowedQueue(queue)
    wakes: list[UUID] = []
    database.follow(batch_id, lambda: wakes.append(batch_id))
    polling = asyncio.create_task(database.poll_forever())
    try:
        await happens(lambda: database.statuses)
        await outdate(sql)
        await happens(lambda: database.obstacle is not None)
        assert SENTENCE in (database.obstacle.message if database.obstacle else "")
        woken = len(wakes)
        seen_at = await sql.value("SELECT seen_at FROM hammerwork_upkeep")
        await asyncio.sleep(3)
        assert await sql.value("SELECT seen_at FROM hammerwork_upkeep") == seen_at
        assert len(wakes) == woken, "the objects are told once"
        await sql.run("UPDATE hammerwork_migrations SET version = 99, least = 1")
        await happens(lambda: database.obstacle is None)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def test_the_operator_recovers_no_claims_there(
    queue: JobQueue, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    databases = OneDatabase(NoServer(), metrics)
    databases.only = FollowedQueue(queue)
    await queue.enqueue_batch(batch(1))
    worker = SteeredWorker(queue)
    await worker.register(instance="pod-1")
    await worker.take(1)
    await outdate(sql)
    recovery = ClaimRecovery(databases, metrics, lambda _: DatabaseSecretRef())
    try:
        recovery.lost(("mail", "mailers"), "pod-1", certain=True)
        await happens(lambda: "claims of lost Pods are" in caplog.text)
        assert SENTENCE in caplog.text
        assert await sql.value("SELECT count(*) FROM hammerwork_workers") == 1
    finally:
        await recovery.stop()


class NoServer(ApiServer):
    def __init__(self) -> None:
        """Connect to nothing."""


class OneDatabase(Databases):
    """Leads to the same database, whatever the Secret."""

    only: FollowedQueue

    async def database(self, namespace: str, ref: DatabaseSecretRef) -> FollowedQueue:  # noqa: ARG002
        return self.only
