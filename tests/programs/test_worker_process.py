"""`hammerwork-worker` as a container runs it: a process that knows nothing but its environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from hammerwork import BatchState, Job, JobBatch, JobQueue
from hammerwork.working import variables
from tests.harness.observing import only_postgres
from tests.harness.servers.postgres import PostgresServer
from tests.harness.waiting import happens
from tests.programs.worker_process import COMMAND, DEADLINE_SECONDS, HANDLER, WorkerProcess, ended

HANDLERS = """
import asyncio, os, subprocess, time
from pathlib import Path

async def quick(job):
    if job.payload["n"] % 10 == 9:
        raise ValueError("nine")

async def slow(job):
    Path(f"started-{job.index}").touch()
    await asyncio.sleep(0.5)
    Path(f"finished-{job.index}").touch()

async def block(job):
    Path("started-0").touch()
    deadline = time.monotonic() + 60
    while not Path("go-on").exists() and time.monotonic() < deadline:
        time.sleep(0.01)

async def leave_orphans(job):
    # The shell ends at once; what it has started goes on without a parent.
    subprocess.run(["sh", "-c", "sleep 0.01 & sleep 0.01 &"], check=True)
    for _ in range(5):
        try:
            subprocess.run(["sh", "-c", "exit 7"], check=True)
        except subprocess.CalledProcessError as error:
            assert error.returncode == 7
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 8")
    assert await process.wait() == 8

def hang(job):
    Path(f"started-{job.index}").touch()
    time.sleep(3600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


def marks(folder: Path, kind: str) -> int:
    """How many jobs have left a mark of this kind."""
    return len(list(folder.glob(f"{kind}-*")))


def jobs(count: int) -> JobBatch:
    return JobBatch("b").with_jobs(Job("q", {"n": n}) for n in range(count)).with_max_attempts(1)


async def test_jobs_are_run_and_probes_and_metrics_tell(folder: Path, queue: JobQueue, database_url: str) -> None:
    worker = WorkerProcess(folder, database_url, **{HANDLER: "handlers:quick", variables.POOL: "mailers"})
    with worker.started() as process:

        async def ready() -> bool:
            return (await worker.get("/readyz"))[0] == 200

        await worker.until(ready, "the worker is ready")
        assert await worker.get("/healthz") == (200, "ok\n")
        zero = await worker.metrics()
        assert zero["hammerwork_worker_jobs_processed_total"] == 0
        assert zero["hammerwork_worker_ready"] == 1

        batch_id = await queue.enqueue_batch(jobs(50))
        status = await queue.wait(batch_id, timeout=DEADLINE_SECONDS)
        assert (status.completed_jobs, status.failed_jobs) == (45, 5)

        _, text = await worker.get("/metrics")
        assert 'hammerwork_worker_jobs_completed_total{pool="mailers",queue="q"} 45.0' in text
        told = await worker.metrics()
        names = ("jobs_processed_total", "jobs_completed_total", "jobs_failed_total", "busy_lanes")
        assert [told[f"hammerwork_worker_{name}"] for name in names] == [50, 45, 5, 0]
        assert told["hammerwork_worker_average_processing_seconds"] > 0

        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()
    assert worker.log()[-1]["message"] == "stopped"


@only_postgres
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_finishes_what_runs_and_gives_back_the_rest(
    folder: Path, queue: JobQueue, database_url: str, number: signal.Signals
) -> None:
    worker = WorkerProcess(folder, database_url, **{HANDLER: "handlers:slow", variables.CONCURRENCY: "3"})
    batch_id = await queue.enqueue_batch(jobs(500))
    with worker.started() as process:

        async def all_lanes_busy() -> bool:
            return (await worker.metrics()).get("hammerwork_worker_busy_lanes") == 3

        await worker.until(all_lanes_busy, "three lanes run a job")
        process.send_signal(number)
        assert await ended(process) == 0, worker.log()
    finished = marks(folder, "finished")
    assert marks(folder, "started") == finished > 0
    status = await queue.get_batch_status(batch_id)
    assert (status.completed_jobs, status.running_jobs, status.pending_jobs) == (finished, 0, 500 - finished)


@only_postgres
async def test_a_handler_that_hangs_does_not_hold_the_process_beyond_the_grace_period(
    folder: Path, queue: JobQueue, database_url: str
) -> None:
    settings = {HANDLER: "handlers:hang", variables.SHUTDOWN_GRACE_PERIOD_SECONDS: "0.2"}
    worker = WorkerProcess(folder, database_url, **settings)
    batch_id = await queue.enqueue_batch(jobs(3))
    with worker.started() as process:

        async def started() -> bool:
            return marks(folder, "started") == 3

        await worker.until(started, "the jobs have started")
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()
    status = await queue.get_batch_status(batch_id)
    assert (status.completed_jobs, status.failed_jobs, status.pending_jobs, status.running_jobs) == (0, 0, 3, 0)


@only_postgres
async def test_probes_and_metrics_answer_while_a_handler_blocks_the_event_loop(
    folder: Path, queue: JobQueue, database_url: str
) -> None:
    worker = WorkerProcess(folder, database_url, **{HANDLER: "handlers:block"})
    batch_id = await queue.enqueue_batch(jobs(1))
    with worker.started() as process:

        async def blocked() -> bool:
            return marks(folder, "started") == 1

        await worker.until(blocked, "the handler blocks the loop")
        assert await worker.get("/healthz") == (200, "ok\n")
        assert (await worker.metrics())["hammerwork_worker_busy_lanes"] == 1
        assert (await worker.get("/readyz"))[0] in {200, 503}
        (folder / "go-on").touch()
        assert (await queue.wait(batch_id, timeout=DEADLINE_SECONDS)).completed_jobs == 1
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()


as_process_1 = pytest.mark.skipif(os.getuid() != 0, reason="only root may make a process namespace")
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")


@only_postgres
@as_process_1
async def test_process_1_reaps_orphans_and_takes_no_exit_status_from_handlers(
    folder: Path, queue: JobQueue, database_url: str
) -> None:
    worker = WorkerProcess(folder, database_url, **{HANDLER: "handlers:leave_orphans"})
    batch_id = await queue.enqueue_batch(jobs(20))
    with worker.started(NAMESPACE) as process:
        status = await queue.wait(batch_id, timeout=DEADLINE_SECONDS)
        assert status.completed_jobs == 20, await queue.get_batch_errors(batch_id)

        def all_below() -> list[str]:
            return [
                f"{child.name()} {child.status()}" for child in psutil.Process(process.pid).children(recursive=True)
            ]

        # The first process and the worker; no orphan.
        await happens(lambda: len(all_below()) == 2, within=DEADLINE_SECONDS)
        (first,) = psutil.Process(process.pid).children()
        first.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()
    assert worker.log()[-1]["message"] == "stopped"


@only_postgres
@as_process_1
async def test_process_1_ends_with_a_code_that_tells_what_killed_the_worker(
    folder: Path, queue: JobQueue, database_url: str
) -> None:
    worker = WorkerProcess(folder, database_url, **{HANDLER: "handlers:hang"})
    await queue.enqueue_batch(jobs(1))
    with worker.started(NAMESPACE) as process:

        async def started() -> bool:
            return marks(folder, "started") == 1

        await worker.until(started, "the job has started")
        (first,) = psutil.Process(process.pid).children()
        (itself,) = first.children()
        itself.kill()
        assert await ended(process) == 128 + signal.SIGKILL


async def test_a_database_that_is_away_is_waited_for_while_the_probes_answer(folder: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="hammerwork-postgres-"))
    server = PostgresServer(place)
    server.create()
    worker = WorkerProcess(folder, server.url(), **{HANDLER: "handlers:quick"})
    try:
        with worker.started() as process:

            async def tried() -> bool:
                return any("cannot be reached" in record["message"] for record in worker.log())

            await worker.until(tried, "the worker has tried to connect")
            assert (await worker.get("/healthz"))[0] == 200
            assert await worker.get("/readyz") == (503, "the database has not been reached yet\n")
            assert (await worker.metrics())["hammerwork_worker_ready"] == 0

            server.start()

            async def ready() -> bool:
                return (await worker.get("/readyz"))[0] == 200

            await worker.until(ready, "the worker is ready, in a database without tables")
            async with await JobQueue.connect(server.url()) as queue:
                status = await queue.wait(await queue.enqueue_batch(jobs(8)), timeout=DEADLINE_SECONDS)
                assert status.state is BatchState.COMPLETED
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0, worker.log()
    finally:
        with contextlib.suppress(RuntimeError):
            server.stop("immediate")
        shutil.rmtree(place)


async def test_a_signal_ends_the_waiting_for_a_database_at_once(folder: Path) -> None:
    worker = WorkerProcess(folder, "postgresql://postgres@127.0.0.1:1/x", **{HANDLER: "handlers:quick"})
    with worker.started() as process:

        async def tried() -> bool:
            return any("cannot be reached" in record["message"] for record in worker.log())

        await worker.until(tried, "the worker has tried to connect")
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({variables.CONCURRENCY: "0"}, "HAMMERWORK_CONCURRENCY: '0', must be a whole number, 1 to 10,000"),
        ({HANDLER: "handlers:missing"}, "handler 'handlers:missing': 'handlers' has no 'missing'"),
        ({HANDLER: "nowhere:run"}, "handler 'nowhere:run': no module 'nowhere'"),
        (
            {HANDLER: "leaving:run"},
            "handler 'leaving:run': importing 'leaving' called sys.exit(0); put what",
        ),
        ({HANDLER: "leaving.py:run"}, "handler 'leaving.py:run': importing leaving.py called sys.exit(0)"),
        ({HANDLER: "yielding:run"}, "handler 'yielding:run': it has a 'yield' in it"),
        ({variables.LOG_FORMAT: "xml"}, "HAMMERWORK_LOG_FORMAT: 'xml', must be text or json"),
        ({variables.DATABASE_URL: "oracle://db"}, "oracle"),
    ],
)
def test_bad_configuration_ends_with_2_and_says_what_is_wrong(
    folder: Path, settings: dict[str, str], message: str
) -> None:
    (folder / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "yielding.py").write_text("async def run(job):\n    yield\n")
    worker = WorkerProcess(folder, "postgresql://h/d", **{HANDLER: "handlers:quick", **settings})
    done = subprocess.run(
        COMMAND, cwd=folder, env=worker.environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_variable_and_exit_code() -> None:
    done = subprocess.run([*COMMAND, "--help"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in (HANDLER, *(value for name, value in vars(variables).items() if name.isupper())):
        assert name in done.stdout
