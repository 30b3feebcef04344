"""How a worker's container starts, and that it may be several processes."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from hammerwork import Job, JobBatch, JobQueue
from hammerwork.handlers import HandlerReference
from hammerwork.working import processes, variables
from hammerwork.working.processes import WorkerProcesses
from hammerwork.working.settings import ProcessSettings
from tests.harness.cancelling import forgotten
from tests.harness.observing import only_postgres
from tests.harness.waiting import eventually, happens
from tests.programs.worker_process import DEADLINE_SECONDS, HANDLER, WorkerProcess, ended

if TYPE_CHECKING:
    from pathlib import Path

SLOW = """
import time
from pathlib import Path

deadline = time.monotonic() + 60
Path("importing").touch()
while not Path("go-on").exists() and time.monotonic() < deadline:
    time.sleep(0.01)

async def run(job):
    pass
"""

IN_C = """
import ctypes
from pathlib import Path

Path("importing").touch()
ctypes.CDLL(None).sleep(60)  # no line of Python runs meanwhile, so no signal handler of Python's either
"""

NOWHERE = "postgresql://postgres@127.0.0.1:1/x"


def importing() -> list[psutil.Process]:
    """Return the worker processes that this process has started."""
    return [each for each in psutil.Process().children() if "hammerwork.working" in each.cmdline()]


@only_postgres
async def test_probes_are_served_while_the_handler_is_imported(
    tmp_path: Path, queue: JobQueue, database_url: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    worker = WorkerProcess(tmp_path, database_url, **{HANDLER: "slow:run", variables.LOG_LEVEL: "debug"})
    with worker.started() as process:
        await happens((tmp_path / "importing").exists, within=DEADLINE_SECONDS)
        assert await worker.get("/healthz") == (200, "ok\n")
        assert await worker.get("/readyz") == (503, "importing the handler\n")
        assert (await worker.metrics())["hammerwork_worker_ready"] == 0
        (tmp_path / "go-on").touch()

        async def ready() -> bool:
            return (await worker.get("/readyz"))[0] == 200

        await worker.until(ready, "the worker is ready")
        assert len(await queue.get_workers("q")) == 1
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()


@pytest.mark.parametrize("count", ["1", "2"])
async def test_a_signal_ends_an_import_at_once(tmp_path: Path, count: str) -> None:
    (tmp_path / "slow.py").write_text(IN_C)
    worker = WorkerProcess(tmp_path, NOWHERE, **{HANDLER: "slow:run", variables.PROCESSES: count})
    with worker.started() as process:
        await happens((tmp_path / "importing").exists, within=DEADLINE_SECONDS)
        children = psutil.Process(process.pid).children()
        assert len(children) == (0 if count == "1" else 2)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == (-signal.SIGTERM if count == "1" else 0), worker.log()
        assert [child for child in children if child.is_running()] == []


COUNTING = """
async def run(job):
    if job.payload % 10 == 9:
        raise ValueError("nine")
"""


def _batch(name: str) -> JobBatch:
    return JobBatch(name).with_jobs(Job("q", n) for n in range(100)).with_batch_size(5).with_max_attempts(1)


@only_postgres
async def test_processes_of_a_container_count_together_and_are_started_again(
    tmp_path: Path, queue: JobQueue, database_url: str
) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    settings = {HANDLER: "counting:run", variables.PROCESSES: "2", variables.POD_UID: "u1"}
    worker = WorkerProcess(tmp_path, database_url, **settings)

    async def ready() -> bool:
        return (await worker.get("/readyz"))[0] == 200

    async def counted() -> list[float]:
        metrics = await worker.metrics()
        return [metrics.get(f"hammerwork_worker_jobs_{name}_total", 0) for name in ("processed", "completed", "failed")]

    with worker.started() as process:
        await worker.until(ready, "both processes are ready")
        assert sorted(each.instance for each in await queue.get_workers("q")) == ["u1/0", "u1/1"]
        await queue.wait(await queue.enqueue_batch(_batch("first")), timeout=DEADLINE_SECONDS)
        await eventually(counted, lambda counts: counts == [100, 90, 10], within=DEADLINE_SECONDS)

        victim, neighbour = psutil.Process(process.pid).children()
        victim.kill()
        await happens(lambda: not victim.is_running() and len(psutil.Process(process.pid).children()) == 2)
        assert neighbour.is_running()
        await worker.until(ready, "the process that was killed has been replaced")
        assert await counted() == [100, 90, 10]
        await queue.wait(await queue.enqueue_batch(_batch("second")), timeout=DEADLINE_SECONDS)
        await eventually(counted, lambda counts: counts == [200, 180, 20], within=DEADLINE_SECONDS)

        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, worker.log()
    assert await queue.get_workers("q") == []
    assert {record["process"] for record in worker.log() if record["message"].startswith("working on")} >= {
        victim.pid,
        neighbour.pid,
    }


async def test_processes_that_cannot_start_end_the_container_with_one_line(tmp_path: Path) -> None:
    settings = {HANDLER: "nowhere:run", variables.PROCESSES: "3", variables.LOG_FORMAT: "json"}
    worker = WorkerProcess(tmp_path, NOWHERE, **settings)
    with worker.started() as process:
        assert await ended(process) == 2, worker.log()
    assert [record["message"][:40] for record in worker.log() if record["level"] == "error"] == [
        "handler 'nowhere:run': no module 'nowher"
    ]


async def test_a_process_that_reports_nothing_is_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STUCK_SECONDS", 3.0)
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    handler = HandlerReference.from_text(f"{tmp_path}/slow.py:run")
    workers = WorkerProcesses(ProcessSettings(database_url=NOWHERE, queue="q", handler=handler), processes=1)
    running = asyncio.create_task(workers.run())
    try:
        await happens(lambda: workers.report().not_ready == "worker process 0 of 1: importing the handler")
        (child,) = importing()
        child.suspend()
        await happens(lambda: "worker process 0 of 1: no report for" in (workers.report().unhealthy or ""))
        child.resume()
        await happens(lambda: workers.report().unhealthy is None)
    finally:
        workers.stop()
        await running


async def test_whoever_is_cancelled_while_processes_start_leaves_none_behind(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    handler = HandlerReference.from_text(f"{tmp_path}/slow.py:run")
    settings = ProcessSettings(database_url=NOWHERE, queue="q", handler=handler)

    async def run() -> None:
        workers = WorkerProcesses(settings, processes=1)
        stop = asyncio.get_running_loop().call_later(0.5, workers.stop)
        try:
            await workers.run()
        finally:
            stop.cancel()

    async def settled() -> None:
        assert importing() == []

    assert await forgotten(run, settled) == []


async def test_a_process_that_the_system_does_not_start_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    handler = HandlerReference.from_text(f"{tmp_path}/slow.py:run")
    workers = WorkerProcesses(ProcessSettings(database_url=NOWHERE, queue="q", handler=handler), processes=2)

    running = asyncio.create_task(workers.run())
    try:
        await happens(lambda: len(importing()) == 2)
        victim, neighbour = importing()
        with monkeypatch.context() as patch:
            patch.setattr(processes, "this_python", lambda: [f"{tmp_path}/none"])
            victim.kill()
            await happens(lambda: "cannot be started: [Errno 2]" in caplog.text)
        await happens(lambda: len(importing()) == 2)
        assert neighbour in importing()
    finally:
        workers.stop()
        await running
