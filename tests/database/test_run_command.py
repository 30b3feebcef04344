"""`hammerwork run` as a user runs it: a process of its own, with the embedded PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hammerwork import Job, JobBatch, JobQueue
from tests.database.observing import only_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "hammerwork_cli"]
DEADLINE_SECONDS = 120.0


class Place:
    """A folder for manifests, and one for temporary files that has to be empty after each run."""

    def __init__(self, folder: Path) -> None:
        self.manifests = folder / "manifests"
        self.temporary = folder / "tmp"
        self.environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.pop("HAMMERWORK_DATABASE_URL", None)
        for path in (self.manifests, self.temporary):
            path.mkdir()

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.execute([*COMMAND, *map(str, arguments)], **environment)

    def execute(
        self, command: list[str], *, user: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )

    @contextlib.contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A run in a session of its own, as a terminal's foreground job is in a process group of its own."""
        with (self.temporary.parent / "stderr").open("w") as errors:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def errors(self) -> str:
        return (self.temporary.parent / "stderr").read_text()

    def add(self, code: str, *, count: int = 3, pool: dict[str, Any] | None = None, **batch: Any) -> Path:
        """Write a batch, a pool and the file of its function `run`."""
        head = {"apiVersion": "hammerwork.io/v1alpha1"}
        generate = {"count": count, "payload": {"n": "{{ index }}"}}
        documents = [
            {
                **head,
                "kind": "JobBatch",
                "metadata": {"name": "work"},
                "spec": {"queue": "q", "generate": generate, **batch},
            },
            {
                **head,
                "kind": "WorkerPool",
                "metadata": {"name": "workers"},
                "spec": {"queue": "q", "handler": {"python": {"function": "work:run"}}, **(pool or {})},
            },
        ]
        (self.manifests / "work.yaml").write_text(yaml.safe_dump_all(documents))
        (self.manifests / "work.py").write_text(code)
        return self.manifests

    def assert_nothing_is_left(self) -> None:
        assert list(self.temporary.iterdir()) == []
        left = [line for line in _command_lines() if str(self.temporary) in line]
        assert left == []


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def wait_until(
    done: Callable[[], bool], what: str, tell: Callable[[], str], process: subprocess.Popen[str] | None = None
) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert process is None or process.poll() is None, f"{what}: the process has ended; seen: {tell()}"
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_SECONDS:g} s; seen: {tell()}"
        time.sleep(0.02)


@pytest.fixture
def place() -> Iterator[Place]:
    # Not pytest's own folder: started by root, PostgreSQL runs as another user, who must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="hammerwork-test-"))
    folder.chmod(0o755)
    try:
        yield Place(folder)
    finally:
        shutil.rmtree(folder)


def test_the_data_processing_example_runs_to_the_end(place: Place) -> None:
    results = place.manifests / "results"
    done = place.run("run", "examples/data-processing/", "--output", "json", OUTPUT_DIR=str(results))

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    [batch] = report["batches"]
    assert report["ending"] == "Finished"
    assert {name: batch[name] for name in ("name", "queue", "state", "successRate", "errors", "metadata")} == {
        "name": "default/daily-data-processing",
        "queue": "data-processing",
        "state": "Completed",
        "successRate": 1.0,
        "errors": [],
        "metadata": {"date": "2024-01-15", "source": "automated_pipeline"},
    }
    counts = ("totalJobs", "completedJobs", "failedJobs", "cancelledJobs", "pendingJobs")
    assert [batch[name] for name in counts] == [100, 100, 0, 0, 0]
    assert batch["durationSeconds"] > 0
    assert batch["jobsPerSecond"] == pytest.approx(100 / batch["durationSeconds"])
    assert sorted(path.name for path in results.iterdir()) == sorted(f"file_{i}.json" for i in range(100))
    assert "default/daily-data-processing: Completed, 100 of 100 jobs" in done.stderr
    place.assert_nothing_is_left()


def test_every_address_of_the_welcome_emails_example_gets_exactly_one_mail(place: Place) -> None:
    with _mail_server() as (smtp_port, http_port):
        done = place.run(
            "run", "examples/welcome-emails", "--output", "json", SMTP_HOST="127.0.0.1", SMTP_PORT=str(smtp_port)
        )
        assert done.returncode == 0, done.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/messages", timeout=30) as answer:
            listed = json.load(answer)

    wanted = [f"user{i}@example.com" for i in range(300)]
    wanted += [f"{name}@example.org" for name in ("founder", "partner", "reader1", "reader2", "archive")]
    got = Counter(address for message in listed["messages"] for address in message["recipients"])
    assert got == Counter(wanted)
    assert listed["count"] == len(wanted)
    assert len({message["message_id"] for message in listed["messages"]}) == len(wanted)

    report = json.loads(done.stdout)
    ids = {batch["batchId"]: batch["totalJobs"] for batch in report["batches"]}
    assert Counter(message["job"].partition("/")[0] for message in listed["messages"]) == ids
    assert "examples/welcome-emails/smtp.yaml: Deployment smtp is for a cluster: skipped" in done.stderr
    place.assert_nothing_is_left()


@contextlib.contextmanager
def _mail_server() -> Iterator[tuple[int, int]]:
    """The example's own mail server on free ports of the loopback."""
    program = ROOT / "examples" / "welcome-emails" / "smtp_server.py"
    with subprocess.Popen(
        [sys.executable, program, "--host", "127.0.0.1", "--smtp-port", "0", "--http-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().replace(",", " ").replace(":", " ").split()
            ports = [int(word) for word in words if word.isdigit()]
            assert len(ports) == 2, words
            yield ports[0], ports[1]
            server.terminate()
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="all tests run as an ordinary user already")
def test_an_ordinary_user_needs_nothing_more(place: Place) -> None:
    account = pwd.getpwnam("nobody")
    os.chown(place.temporary, account.pw_uid, account.pw_gid)
    folder = place.add("def run(job):\n    pass\n")
    done = place.execute(
        [_interpreter_for("nobody"), *COMMAND[1:], "run", str(folder)],
        user="nobody",
        HOME=str(place.temporary),
        PYTHONPATH=os.pathsep.join(entry for entry in sys.path if entry),
    )
    assert done.returncode == 0, done.stderr
    assert "default/work Completed 3 3 0 0 100% " in " ".join(done.stdout.split())
    place.assert_nothing_is_left()


def _interpreter_for(user: str) -> str:
    """This interpreter, or the system's of the same version where this one lives in root's home."""
    version = f"python3.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/{version}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            subprocess.run([program, "-c", ""], user=user, extra_groups=[], check=True, cwd="/")
            return program
    pytest.skip(f"no {version} that the user {user} may run")


def test_failed_jobs_make_the_exit_code_1_and_are_grouped(place: Place) -> None:
    folder = place.add(
        "from hammerwork import JobFailedError\n"
        "def run(job):\n"
        "    if job.payload['n'] % 2:\n"
        "        raise JobFailedError(f\"odd: {job.payload['n']}\")\n",
        count=10,
    )
    done = place.run("run", folder, "-o", "json")
    assert done.returncode == 1, done.stderr
    [batch] = json.loads(done.stdout)["batches"]
    assert batch["state"] == "CompletedWithErrors"
    assert (batch["completedJobs"], batch["failedJobs"], batch["successRate"]) == (5, 5, 0.5)
    [group] = batch["errors"]
    assert (group["type"], group["count"]) == ("JobFailedError", 5)
    assert group["message"] == f"odd: {group['index']}"
    place.assert_nothing_is_left()


def test_a_failed_batch_makes_the_exit_code_1(place: Place) -> None:
    folder = place.add(
        "async def run(job):\n    raise RuntimeError('down')\n",
        count=200,
        batchSize=1,
        partialFailureMode="FailFast",
        pool={"concurrency": 1},
    )
    done = place.run("run", folder)
    assert done.returncode == 1, done.stderr
    shown = " ".join(done.stdout.split())
    assert "default/work Failed" in shown
    assert "RuntimeError 1 0 down" in shown
    place.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchSize": 0}, "manifests/work.yaml: JobBatch default/work: spec.batchSize: 0, must be 1 to 1000"),
        (
            {"queue": "other"},
            "manifests/work.yaml: JobBatch default/work: spec.queue: 'other', no WorkerPool in the files works on this",
        ),
        (
            {"generate": {"count": 1, "payload": "{{ number }}"}},
            "JobBatch default/work: spec.generate.payload: unknown placeholder",
        ),
        ({"pool": {"handler": {"python": {"function": "work:walk"}}}}, "'work' has no 'walk'"),
        ({"pool": {"handler": {"python": {"function": "leaving:run"}}}}, "importing 'leaving' called sys.exit(0); put"),
        ({"pool": {"handler": {"python": {"function": "leaving.py:run"}}}}, "leaving.py called sys.exit(0); put"),
        ({"pool": {"handler": {"python": {"function": "yielding:run"}}}}, "it has a 'yield' in it"),
    ],
)
def test_bad_input_is_told_before_anything_is_started(place: Place, change: dict[str, Any], message: str) -> None:
    folder = place.add("def run(job):\n    pass\n", **change)
    (folder / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "yielding.py").write_text("async def run(job):\n    yield\n")
    done = place.run("run", folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    place.assert_nothing_is_left()


def test_a_payload_over_the_limit_is_bad_input_and_leaves_nothing(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n", generate={"count": 2, "payload": "x" * 1_100_000})
    done = place.run("run", folder)
    assert done.returncode == 2
    assert "JobBatch default/work" in done.stderr
    assert "payload" in done.stderr
    place.assert_nothing_is_left()


def test_usage_errors_are_told(place: Place) -> None:
    assert place.run("run").returncode == 2
    assert place.run("run", place.manifests / "none").returncode == 2
    assert place.run("run", ROOT / "examples", "--timeout", "soon").returncode == 2
    done = place.run("run", "examples/data-processing", "--database-url", "postgresql://db/x", "--keep-data", "d")
    assert done.returncode == 2
    assert "cannot be combined with --database-url" in done.stderr


TELLING_SLOW_HANDLER = """
import asyncio, os
from pathlib import Path

async def run(job):
    Path({folder!r}, f"started-{{job.index}}").touch()
    await asyncio.sleep(0.3)
    Path({folder!r}, f"finished-{{job.index}}").touch()
"""


@pytest.mark.parametrize(
    ("number", "code", "ending"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]
)
def test_ctrl_c_finishes_what_runs_and_leaves_nothing_behind(
    place: Place, number: signal.Signals, code: int, ending: str
) -> None:
    marks = place.manifests / "marks"
    marks.mkdir()
    folder = place.add(TELLING_SLOW_HANDLER.format(folder=str(marks)), count=10_000, pool={"concurrency": 4})
    with place.started("run", folder, "--output", "json") as process:
        wait_until(lambda: any(marks.iterdir()), "a job has started", place.errors, process)
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        shown, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == code, place.errors()
    report = json.loads(shown)
    [batch] = report["batches"]
    assert report["ending"] == ending
    started = len(list(marks.glob("started-*")))
    assert started == len(list(marks.glob("finished-*"))) == batch["completedJobs"]
    assert batch["cancelledJobs"] == 10_000 - started
    place.assert_nothing_is_left()


@pytest.mark.parametrize("attempt", range(3))  # where the winding up stands when the second one comes differs
def test_a_second_ctrl_c_does_not_wait_for_a_handler_that_hangs(place: Place, attempt: int) -> None:
    mark = place.manifests / "mark"
    code = f"import pathlib, time\ndef run(job):\n    pathlib.Path({str(mark)!r}).touch()\n    time.sleep(3600)\n"
    folder = place.add(code, pool={"shutdownGracePeriodSeconds": 3600})
    with place.started("run", folder) as process:
        wait_until(mark.exists, "the job has started", place.errors, process)
        os.killpg(process.pid, signal.SIGINT)
        wait_until(lambda: "Stopping" in place.errors(), "the first Ctrl-C is answered", place.errors, process)
        time.sleep(attempt * 0.2)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, place.errors()
    place.assert_nothing_is_left()


def test_a_killed_run_takes_its_database_along(place: Place) -> None:
    mark = place.manifests / "mark"
    touch = f"pathlib.Path({str(mark)!r}).touch()"
    folder = place.add(f"import asyncio, pathlib\nasync def run(job):\n    {touch}\n    await asyncio.sleep(60)\n")
    with place.started("run", folder) as process:
        wait_until(mark.exists, "the job has started", place.errors, process)
        [data] = place.temporary.glob("hammerwork-*/data")
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
    wait_until(
        lambda: not any(str(data) in line for line in _command_lines()),
        "PostgreSQL has ended",
        lambda: str([line for line in _command_lines() if str(data) in line]),
    )


def test_when_the_time_runs_out_the_rest_is_cancelled(place: Place) -> None:
    folder = place.add("import asyncio\nasync def run(job):\n    await asyncio.sleep(0.3)\n", count=10_000)
    done = place.run("run", folder, "--timeout", "1", "--output", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ending"] == "TimedOut"
    [batch] = report["batches"]
    assert batch["pendingJobs"] == 0
    assert batch["cancelledJobs"] > 0
    assert "the time of 1 s ran out" in done.stderr
    place.assert_nothing_is_left()


def test_the_deadline_of_a_batch_is_held(place: Place) -> None:
    folder = place.add(
        "import asyncio\nasync def run(job):\n    await asyncio.sleep(0.3)\n", count=10_000, activeDeadlineSeconds=1
    )
    done = place.run("run", folder, "--output", "json")
    assert done.returncode == 1
    [batch] = json.loads(done.stdout)["batches"]
    assert batch["deadlineExceeded"] is True
    assert batch["state"] == "Cancelled"


def test_kept_data_are_there_for_the_next_run(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n")
    data = place.manifests / "data"
    assert place.run("run", folder, "--keep-data", data).returncode == 0
    assert (data / "PG_VERSION").exists()
    again = place.run("run", folder, "--keep-data", data)
    assert again.returncode == 0, again.stderr
    place.assert_nothing_is_left()
    refused = place.run("run", folder, "--keep-data", place.manifests)
    assert refused.returncode == 2
    assert "has other files in it" in refused.stderr


@only_postgres
async def test_a_run_on_a_given_database_leaves_its_batches_there_for_the_other_commands(
    place: Place, database_url: str
) -> None:
    folder = place.add(
        "def run(job):\n    if job.index == 7:\n        raise ValueError('seven')\n", count=20, backoffLimit=0
    )
    done = place.run("run", folder, "--database-url", database_url, "--output", "json")
    assert done.returncode == 1, done.stderr
    [batch] = json.loads(done.stdout)["batches"]
    name = batch["batchId"]

    def ask(*arguments: str) -> Any:
        told = place.run(*arguments, "--output", "json", HAMMERWORK_DATABASE_URL=database_url)
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    assert ask("status", name) == batch
    assert ask("errors", name) == batch["errors"]
    [failed] = ask("jobs", name, "--status", "Failed")
    assert (failed["index"], failed["payload"], failed["error"]["type"]) == (7, {"n": 7}, "ValueError")
    assert [job["index"] for job in ask("jobs", name, "--after", "14", "--limit", "3")] == [15, 16, 17]
    assert ask("depth") == {}
    assert ask("migrate") == {"migrated": True}
    assert ask("cancel", name)["state"] == "CompletedWithErrors"
    assert ask("delete", name) == {"batchId": name, "deleted": True}
    gone = place.run("status", name, HAMMERWORK_DATABASE_URL=database_url)
    assert gone.returncode == 2
    assert f"batch {name}: not found" in gone.stderr


async def test_a_batch_is_held_and_let_go_on(place: Place, queue: JobQueue, database_url: str) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("b").with_jobs(Job("q", n) for n in range(5)))

    def ask(*arguments: str) -> str:
        told = place.run(*arguments, HAMMERWORK_DATABASE_URL=database_url)
        assert told.returncode == 0, told.stderr
        return told.stdout

    assert ask("suspend", str(batch_id)) == f"batch {batch_id}: suspended\n"
    assert (await queue.get_batch_status(batch_id)).suspended
    assert ask("resume", str(batch_id)) == f"batch {batch_id}: resumed\n"
    assert not (await queue.get_batch_status(batch_id)).suspended
    assert ask("depth").split()[-6:][:4] == ["q", "5", "0", "0"]
    assert "0 completed, 0 failed, 5 cancelled" in ask("cancel", str(batch_id))


async def test_a_database_that_cannot_be_reached_ends_the_run(place: Place) -> None:
    folder = place.add("def run(job):\n    pass\n")
    done = place.run("run", folder, "--database-url", "postgresql://postgres@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


@only_postgres
async def test_the_example_program_is_the_same_workflow(place: Place, database_url: str) -> None:
    done = place.execute([sys.executable, "examples/data-processing/program.py", database_url])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Enqueued batch: ")
    assert "Progress: 100/100 jobs completed" in lines
    assert "Batch completed with 100.0% success rate" in lines
    name = lines[0].removeprefix("Enqueued batch: ")
    assert "not found" in place.run("status", name, "--database-url", database_url).stderr
