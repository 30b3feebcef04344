"""Programs of two versions on one database, as while images are replaced: upgrade, rollback, and a version too far."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import psutil
import pytest

from hammerwork import BatchState, Job, JobBatch, JobQueue
from hammerwork.backends.migrating import VERSION
from tests.harness import observing, versions
from tests.harness.observing import DEADLINE_SECONDS, eventually, finished, happens
from tests.harness.versions import NEXT, Installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.observing import Sql

HANDLER = """
import asyncio, os
from pathlib import Path
from hammerwork.backends.migrating import VERSION

ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def run(job):
    await asyncio.sleep(0.001)
    while job.payload == "wait" and not Path("go").exists():
        await asyncio.sleep(0.02)
    os.write(ledger, f"{VERSION} {job.batch_id} {job.index}\\n".encode())
"""
"""Notes each run: by which version, and of which job. Some wait until the test lets them go."""

ENQUEUER = """
import asyncio, itertools, sys
from hammerwork import Job, JobBatch, JobQueue

async def main(url):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stop.set)
    async with await JobQueue.connect(url) as queue:
        await queue.create_tables()
        for size in itertools.cycle([1, 30, 300, 1_200]):
            jobs = [Job("q", "quick") for _ in range(size)]
            if size > 1_000:
                batch_id = await queue.enqueue_stream(JobBatch("stream", queue="q"), jobs)
            else:
                batch_id = await queue.enqueue_batch(JobBatch("batch").with_jobs(jobs))
            print(batch_id, size, flush=True)
            try:
                await asyncio.wait_for(stop.wait(), 0.1)
            except TimeoutError:
                continue
            return

asyncio.run(main(sys.argv[1]))
"""
"""Enqueues one batch after the other until its standard input ends; writes id and size of each."""

ENOUGH = 200
"""Jobs that show that a pair of versions works together."""


class Installations:
    """This version, and those that are made of it."""

    def __init__(self, folder: Path) -> None:
        self.this = versions.this_version(folder / "this")
        self.next = versions.next_version(self.this, folder / "next")
        self.closing = versions.closing_version(self.next, folder / "closing")
        self.breaking = versions.breaking_version(self.next, folder / "breaking")


class Program:
    """A program of a version of Hammerwork."""

    def __init__(self, version: int, process: asyncio.subprocess.Process) -> None:
        self.version = version
        self._process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())

    def batches(self) -> dict[UUID, int]:
        """Return the sizes of the batches that an enqueuer has told."""
        return {UUID(batch_id): int(size) for batch_id, size in (line.split() for line in self.lines)}

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.shield(self._reading)
            return await self._process.wait()

    async def stop(self) -> None:
        """End a worker by a signal, an enqueuer by the end of its standard input; both have to end with 0."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        else:
            self._process.send_signal(signal.SIGTERM)
        assert await self.ended() == 0, self.lines

    async def kill(self) -> None:
        """End the program and all that it has started, if it is still there."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP)  # so that it starts nothing more
            for process in (*psutil.Process(self._process.pid).children(recursive=True), self._process):
                with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                    process.kill()
        await self.ended()


class Stage:
    """Programs on one database, and the ledger of all runs."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._programs: list[Program] = []
        (folder / "handlers.py").write_text(HANDLER)
        (folder / "enqueuer.py").write_text(ENQUEUER)

    async def _start(
        self, of: Installation, *arguments: str, told: bool = False, settings: dict[str, str] | None = None
    ) -> Program:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=self._folder,
            env=of.environment(HAMMERWORK_DATABASE_URL=self._url, **settings or {}),
            stdin=asyncio.subprocess.PIPE if told else None,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._programs.append(Program(of.version, process))
        return self._programs[-1]

    async def container(self, of: Installation) -> Program:
        """Start a worker as in a container."""
        settings = {"HAMMERWORK_HANDLER": "handlers:run", "HAMMERWORK_QUEUE": "q", "HAMMERWORK_PORT": "0"}
        return await self._start(of, "-m", "hammerwork_worker", settings=settings)

    async def command(self, of: Installation, *arguments: str) -> Program:
        return await self._start(of, "-m", "hammerwork_cli", *arguments)

    async def enqueuer(self, of: Installation) -> Program:
        return await self._start(of, "enqueuer.py", self._url, told=True)

    def let_go(self) -> None:
        """End the jobs that wait."""
        (self._folder / "go").touch()

    def runs(self) -> list[tuple[int, UUID, int]]:
        """Return version, batch and index of all runs so far."""
        ledger = self._folder / "ledger"
        lines = ledger.read_text().splitlines(keepends=True) if ledger.exists() else []
        found = (line.split() for line in lines if line.endswith("\n"))
        return [(int(version), UUID(batch_id), int(index)) for version, batch_id, index in found]

    def jobs_run(self) -> Counter[tuple[UUID, int]]:
        """Return how often each job ran."""
        return Counter((batch_id, index) for _, batch_id, index in self.runs())

    async def close(self) -> None:
        for program in self._programs:
            await program.kill()


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Installations:
    return Installations(tmp_path_factory.mktemp("versions"))


@pytest.fixture
async def stage(tmp_path: Path, database_url: str) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path, database_url)
    try:
        yield stage
    finally:
        await stage.close()


async def assert_newer_is_in_place(sql: Sql, database_url: str) -> None:
    """What the next version has put into the database is there, and what older ones call too."""
    assert await sql.value("SELECT version FROM hammerwork_migrations WHERE name LIKE '%900_next.sql'") == NEXT
    assert await sql.value("SELECT version FROM hammerwork_migrations WHERE name LIKE '%001_tables.sql'") <= NEXT
    if database_url.startswith("postgres"):
        assert await sql.value("SELECT version FROM hammerwork_migrations WHERE name = 'functions'") == NEXT
        functions = "SELECT count(*) FROM pg_proc WHERE proname"
        assert await sql.value(f"{functions} IN ('hammerwork_enqueue_1', 'hammerwork_enqueue_2')") == 2
        assert await sql.value(f"{functions} = 'hammerwork_upkeep_1' AND prosrc LIKE '%v_next_version%'") == 1


@pytest.mark.parametrize("order", ["upgrade", "rollback"])
async def test_two_versions_work_on_one_database(
    installations: Installations, stage: Stage, database_url: str, order: str
) -> None:
    first, second = installations.this, installations.next
    if order == "rollback":
        first, second = second, first
    leaving = [await stage.container(first), await stage.enqueuer(first)]
    await happens(lambda: len(stage.runs()) >= ENOUGH)

    staying = [await stage.container(second), await stage.enqueuer(second)]
    enqueuers = [leaving[1], staying[1]]

    def pairs() -> Counter[tuple[int, int]]:
        """Count runs by the version that ran the job and the one that enqueued it."""
        by = {batch_id: each.version for each in enqueuers for batch_id in each.batches()}
        return Counter((version, by[batch_id]) for version, batch_id, _ in stage.runs() if batch_id in by)

    before = pairs()

    async def since() -> Counter[tuple[int, int]]:
        return pairs() - before

    # What either has enqueued since the second one came is run by both.
    await eventually(since, lambda ran: len(ran) == 4 and min(ran.values()) >= ENOUGH)
    for program in reversed(leaving):
        await program.stop()
    alone = len(stage.runs())
    await happens(lambda: len(stage.runs()) >= alone + ENOUGH)
    await staying[1].stop()

    made_by = {batch_id: each.version for each in enqueuers for batch_id in each.batches()}
    sizes = {batch_id: size for each in enqueuers for batch_id, size in each.batches().items()}
    async with await JobQueue.connect(database_url) as queue, observing.sql(database_url) as sql:
        for batch_id, size in sizes.items():
            status = await finished(queue, batch_id)
            assert (status.state, status.total_jobs, status.completed_jobs) == (BatchState.COMPLETED, size, size)
        await staying[0].stop()
        assert stage.jobs_run() == Counter((batch_id, index) for batch_id in sizes for index in range(sizes[batch_id]))
        assert {version for version, _, _ in stage.runs()} == {VERSION, NEXT}
        await assert_newer_is_in_place(sql, database_url)
        small = [batch_id for batch_id, size in sizes.items() if size < 1_000]
        noted = dict(await sql.rows("SELECT id, made_by FROM hammerwork_batches"))
        noted = {UUID(bytes=key) if isinstance(key, bytes) else UUID(str(key)): value for key, value in noted.items()}
        assert {batch_id: noted[batch_id] for batch_id in small} == {batch_id: made_by[batch_id] for batch_id in small}


@pytest.mark.parametrize("kind", ["closing", "breaking"])
async def test_workers_that_are_too_old_end_and_newer_ones_run_what_they_held(
    installations: Installations, stage: Stage, queue: JobQueue, sql: Sql, kind: str
) -> None:
    payloads = ["quick"] * 300 + ["wait"] * 200
    batch_id = await queue.enqueue_batch(JobBatch("batch").with_jobs(Job("q", payload) for payload in payloads))
    workers = ["worker", "--queue", "q", "--handler", "handlers.py:run", "--processes", "2"]
    old = [await stage.container(installations.this), await stage.command(installations.this, *workers)]

    async def ids() -> list[UUID]:
        found = await sql.rows("SELECT id FROM hammerwork_workers")
        return [UUID(bytes=worker) if isinstance(worker, bytes) else worker for (worker,) in found]

    await eventually(ids, lambda found: len(found) == 3)
    await happens(lambda: len(stage.runs()) == 300)
    before = await ids()
    new = await stage.container(getattr(installations, kind))
    if kind == "closing":
        # What runs goes on to its end, and is counted.
        await happens(lambda: all("this worker stops" in "\n".join(each.lines) for each in old))
        stage.let_go()
    for program in old:
        assert await program.ended() == 3, program.lines
        assert f"which version {NEXT} or later can work with; this is version {VERSION}" in "\n".join(program.lines)
    stage.let_go()
    if kind == "breaking":
        for worker in before:  # nobody has to wait for the end of their leases
            await sql.age_worker(worker)
    status = await finished(queue, batch_id)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 500)
    await new.stop()
    runs = stage.jobs_run()
    assert runs.keys() == {(batch_id, index) for index in range(500)}
    if kind == "closing":
        assert runs.total() == 500
    assert {version for version, _, _ in stage.runs()} == {VERSION, NEXT}
    late = await stage.command(installations.this, "depth")
    assert await late.ended() == 3, late.lines


@pytest.mark.parametrize("there", ["nothing", "this version"])
async def test_two_versions_migrate_at_once(
    installations: Installations, stage: Stage, database_url: str, there: str
) -> None:
    if there == "this version":
        async with await JobQueue.connect(database_url) as queue:
            await queue.create_tables()
    migrations = [
        await stage.command(each, "migrate") for _ in range(2) for each in (installations.this, installations.next)
    ]
    for program in migrations:
        assert await program.ended() == 0, program.lines
    async with await JobQueue.connect(database_url) as queue, observing.sql(database_url) as sql:
        await assert_newer_is_in_place(sql, database_url)
        await queue.enqueue_batch(JobBatch("batch").with_jobs([Job("q", 1)]))
