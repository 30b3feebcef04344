"""The commands that run workers and steer batches, as a user runs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from hammerwork import BatchState, Job, JobBatch
from tests.harness.observing import eventually, happens, only_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hammerwork import JobQueue
    from tests.programs.place import Place

HAMMERWORK = str(Path(sys.executable).with_name("hammerwork"))
HANDLERS = """
import asyncio, os, pathlib, subprocess, sys
async def append(job):
    with open(job.payload["ledger"], "a") as ledger:
        ledger.write(f"{job.index}\\n")
    await asyncio.sleep(0.01)
def look_around(job):
    path = pathlib.Path(job.payload["ledger"])
    child = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True)
    asked = subprocess.run(["cat"], capture_output=True, timeout=30, check=True)
    path.with_name("own").write_text(os.readlink("/proc/self/fd/0") + sys.stdin.read())
    path.with_name("child").write_text(child.stdout)
async def fail(job):
    raise ValueError("no such luck")
"""


async def cli(database_url: str, *arguments: str, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        HAMMERWORK,
        *arguments,
        env={**os.environ, "HAMMERWORK_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, err.decode()
    return (out if code == 0 else err).decode()


async def cli_json(database_url: str, *arguments: str) -> Any:
    return json.loads(await cli(database_url, *arguments, "--output", "json"))


@contextlib.asynccontextmanager
async def worker(
    database_url: str, queue: str, handler: str, *options: str, log: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [HAMMERWORK, "worker", "--queue", queue, "--handler", handler, *options]
    with log.open("ab") if log else contextlib.nullcontext() as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "HAMMERWORK_DATABASE_URL": database_url}, stderr=stderr
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def workers_of(queue: JobQueue, count: int) -> None:
    await eventually(lambda: queue.get_workers("q"), lambda workers: len(workers) >= count, within=60)


@only_postgres
async def test_a_killed_worker_process_is_started_again_and_everything_completes(
    queue: JobQueue, database_url: str, tmp_path: Path
) -> None:
    handlers, ledger = tmp_path / "handlers.py", tmp_path / "ledger"
    handlers.write_text(HANDLERS)
    jobs = 2_000
    batch = JobBatch("b").with_jobs(Job("q", {"ledger": str(ledger)}) for _ in range(jobs))
    batch_id = await queue.enqueue_batch(batch)
    options = [
        "--processes",
        "2",
        "--pool",
        "mill",
        "--poll-interval",
        "0.05",
        "--lease",
        "3600",
        "--log-format",
        "json",
    ]
    log = tmp_path / "log"
    async with worker(database_url, "q", f"{handlers}:append", *options, log=log) as parent:
        await workers_of(queue, 2)
        assert {(each.pool, each.lanes) for each in await queue.get_workers("q")} == {("mill", 10)}
        victim = psutil.Process(parent.pid).children()[0]
        await happens(ledger.exists, within=60)
        victim.kill()
        await happens(lambda: len(psutil.Process(parent.pid).children()) == 2 and not victim.is_running(), within=60)
        # The new one has what the dead one held recovered; its lease has not ended.
        status = await queue.wait(batch_id, timeout=60)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, jobs)
    assert set(ledger.read_text().split()) == {str(index) for index in range(jobs)}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (died,) = [line["message"] for line in lines if line["level"] == "error"]
    assert "exited with -9; restarting it" in died
    assert len({line["process"] for line in lines if line["message"].startswith("working on queue q")}) == 3


async def test_a_batch_with_failures_is_found_looked_at_and_retried(
    queue: JobQueue, database_url: str, tmp_path: Path
) -> None:
    handlers, ledger = tmp_path / "handlers.py", tmp_path / "ledger"
    handlers.write_text(HANDLERS)
    batch = JobBatch("unlucky").with_metadata("campaign", "summer").with_max_attempts(1)
    batch_id = await queue.enqueue_batch(batch.with_jobs(Job("q", {"ledger": str(ledger)}) for _ in range(3)))

    await cli(database_url, "pause", "q")
    async with worker(database_url, "q", f"{handlers}:fail"):
        await workers_of(queue, 1)
        assert (await queue.get_batch_status(batch_id)).pending_jobs == 3
        assert await cli(database_url, "unpause", "q") == "queue q: resumed\n"
        status = await queue.wait(batch_id, timeout=60)
    assert (status.state, status.failed_jobs) == (BatchState.COMPLETED_WITH_ERRORS, 3)

    (found,) = await cli_json(database_url, "batches", "--metadata", "campaign=summer")
    assert (found["name"], found["failedJobs"]) == ("unlucky", 3)
    assert await cli_json(database_url, "batches", "--metadata", "campaign=winter") == []
    assert await cli_json(database_url, "batches", "--state", found["state"]) == [found]
    assert await cli_json(database_url, "batches", "--state", "Loading") == []
    assert "must be KEY=VALUE" in await cli(database_url, "batches", "--metadata", "campaign", code=2)
    told = (await cli_json(database_url, "stats", "q"))["statistics"]
    assert (told["totalProcessed"], told["failed"], told["batches"]) == (3, 3, 1)

    assert "9-5 ends before it begins" in await cli(database_url, "retry", str(batch_id), "--index", "9-5", code=2)
    (failure,) = await cli_json(database_url, "errors", str(batch_id))
    none = ("--error-type", failure["type"], "--error-type", "OSError", "--index", "3-9")
    assert (await cli_json(database_url, "retry", str(batch_id), *none))["jobs"] == 0
    assert (await cli_json(database_url, "retry", str(batch_id), "--error-type", failure["type"]))["jobs"] == 3
    assert "once the batch has finished" in await cli(database_url, "retry", str(batch_id), code=2)
    async with worker(database_url, "q", f"{handlers}:append"):
        status = await queue.wait(batch_id, timeout=60)
    assert (status.state, status.completed_jobs) == (BatchState.COMPLETED, 3)
    assert sorted(ledger.read_text().split()) == ["0", "1", "2"]


@only_postgres
async def test_keys_are_in_camel_case_in_every_command(queue: JobQueue, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    metadata = {"the_users": "own"}
    failing = JobBatch("b").with_jobs([Job("q", {"a_key": 1})]).with_metadata("the_users", "own").with_max_attempts(1)
    batch_id = str(await queue.enqueue_batch(failing))
    await queue.enqueue_batch(JobBatch("c").with_jobs([Job("other", 1)]))
    async with worker(database_url, "q", f"{tmp_path}/handlers.py:fail"):
        await queue.wait(UUID(batch_id), timeout=60)
        statistics = await cli_json(database_url, "stats", "q")
    assert "jobsFailed" in statistics["workers"][0]
    depth = (await cli_json(database_url, "depth"))["other"]
    assert (depth["ready"], depth["oldestReadySeconds"] >= 0) == (1, True)
    (job,) = await cli_json(database_url, "jobs", batch_id)
    assert (job.pop("payload"), job["batchId"], job["error"]["failedAt"] > "2024") == ({"a_key": 1}, batch_id, True)
    status = await cli_json(database_url, "status", batch_id)
    assert status.pop("metadata") == metadata
    listed = await cli_json(database_url, "batches", "--metadata", "the_users=own")
    assert listed[0].pop("metadata") == metadata
    shown = [statistics, depth, job, status, listed, await cli_json(database_url, "errors", batch_id)]
    for name in ("retry", "suspend", "resume", "cancel", "delete"):
        answer = await cli_json(database_url, name, batch_id)
        answer.pop("metadata", None)
        shown.append(answer)
    shown += [await cli_json(database_url, *command) for command in (("pause", "q"), ("unpause", "q"), ("migrate",))]
    assert [key for key in keys(shown) if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", key)] == []


def keys(value: object) -> Iterator[str]:
    """All keys at any depth."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from keys(part)


async def test_a_batch_is_held_and_let_go_on(place: Place, queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(5)))

    def ask(*arguments: str) -> str:
        told = place.run(*arguments, HAMMERWORK_DATABASE_URL=database_url)
        assert told.returncode == 0, told.stderr
        return told.stdout

    assert ask("suspend", str(batch_id)) == f"batch {batch_id}: suspended\n"
    assert (await queue.get_batch_status(batch_id)).suspended
    assert "Pending (suspended)" in ask("status", str(batch_id))
    assert ask("resume", str(batch_id)) == f"batch {batch_id}: resumed\n"
    assert not (await queue.get_batch_status(batch_id)).suspended
    assert ask("depth").split()[-6:][:4] == ["q", "5", "0", "0"]
    ask("pause", "q")
    assert ask("depth").split()[-7:][:5] == ["q", "yes", "5", "0", "0"]
    assert "0 running, the queue is paused" in ask("stats", "q")
    assert "0 completed, 0 failed, 5 cancelled" in ask("cancel", str(batch_id))
    unknown = place.run("errors", str(UUID(int=7)), HAMMERWORK_DATABASE_URL=database_url)
    assert (unknown.returncode, unknown.stderr) == (2, f"Error: batch {UUID(int=7)}: not found\n")


@only_postgres
async def test_handlers_and_their_children_find_nothing_on_standard_input(
    queue: JobQueue, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    batch = JobBatch("b").with_jobs([Job("q", {"ledger": str(tmp_path / "ledger")})]).with_max_attempts(1)
    batch_id = await queue.enqueue_batch(batch)
    async with worker(database_url, "q", f"{tmp_path}/handlers.py:look_around"):
        status = await queue.wait(batch_id, timeout=60)
    assert status.state is BatchState.COMPLETED, await queue.get_batch_errors(batch_id)
    assert (tmp_path / "own").read_text() == "/dev/null"
    seen = (tmp_path / "child").read_text()
    assert "0 -> /dev/null" in seen
    assert "socket:" not in seen


@only_postgres
async def test_a_worker_may_run_a_command_for_each_job(queue: JobQueue, database_url: str, tmp_path: Path) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", {"n": f"no. {n}"}) for n in range(3)))
    command = f"exec:sh -c 'echo \"$1, $HAMMERWORK_JOB_INDEX\" >> {tmp_path}/ledger' sh {{{{ payload.n }}}}"
    async with worker(database_url, "q", command):
        status = await queue.wait(batch_id, timeout=60)
    assert status.state is BatchState.COMPLETED, await queue.get_batch_errors(batch_id)
    assert sorted((tmp_path / "ledger").read_text().splitlines()) == ["no. 0, 0", "no. 1, 1", "no. 2, 2"]


@only_postgres
async def test_worker_processes_end_with_their_parent(queue: JobQueue, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    command = [HAMMERWORK, "worker", "--queue", "q", "--handler", f"{tmp_path}/handlers.py:append", "--processes", "2"]
    parent = await asyncio.create_subprocess_exec(*command, env={**os.environ, "HAMMERWORK_DATABASE_URL": database_url})
    await workers_of(queue, 2)
    children = psutil.Process(parent.pid).children()
    parent.kill()
    await parent.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=60)
    assert (len(gone), alive) == (2, [])


@only_postgres
async def test_a_handler_whose_import_exits_ends_the_worker_with_2(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    said = await cli(database_url, "worker", "--queue", "q", "--handler", f"{tmp_path}/leaving.py:run", code=2)
    assert "leaving.py called sys.exit(0); put what only a program of its own should do" in said.replace("\n", " ")


@only_postgres
async def test_a_handler_that_does_not_exist_ends_the_worker_with_2(database_url: str) -> None:
    said = await cli(database_url, "worker", "--queue", "q", "--handler", "nowhere:work", code=2)
    assert "handler 'nowhere:work': no module 'nowhere'" in said.replace("\n", " ")
