"""How a run of `hammerwork run` ends early: signals, a kill, the time that runs out."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.waiting import wait_until
from tests.harness.manifests import as_file, jobbatch, workerpool
from tests.programs.place import DEADLINE_SECONDS, command_lines

if TYPE_CHECKING:
    from tests.programs.place import Place


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
        place.wait_until(lambda: any(marks.iterdir()), "a job has started", process)
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
        place.wait_until(mark.exists, "the job has started", process)
        os.killpg(process.pid, signal.SIGINT)
        place.wait_until(lambda: "Stopping" in place.errors(), "the first Ctrl-C is answered", process)
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
        place.wait_until(mark.exists, "the job has started", process)
        [data] = place.temporary.glob("hammerwork-*/data")
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)

    def left() -> str | None:
        return "\n".join(line for line in command_lines() if str(data) in line) or None

    wait_until("the end of PostgreSQL", left, seconds=DEADLINE_SECONDS)


def test_when_the_time_runs_out_the_rest_is_cancelled(place: Place) -> None:
    folder = place.add("import asyncio\nasync def run(job):\n    await asyncio.sleep(0.3)\n", count=10_000)
    done = place.run("run", folder, "--timeout", "1", "--output", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ending"] == "TimedOut"
    [batch] = report["batches"]
    assert batch["pendingJobs"] == 0
    assert batch["cancelledJobs"] > 0
    assert "the time limit of 1 s has passed" in done.stderr
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


def test_batches_begin_in_the_order_of_their_dependencies(place: Place) -> None:
    code = """
import pathlib
async def run(job):
    with (pathlib.Path(__file__).parent / "ran").open("a") as ran:
        print(job.payload, file=ran)
    if job.payload == "extract":
        raise ValueError("half of it")
"""
    given: list[tuple[str, list[dict[str, str]]]] = [
        ("load", [{"name": "extract"}]),
        ("strict", [{"name": "extract", "condition": "Succeeded"}]),
        ("after", [{"name": "strict"}]),
        ("extract", []),
    ]
    (place.manifests / "handlers.py").write_text(code)
    batches = [jobbatch(name, jobs=[{"payload": name}], backoffLimit=0) for name, _ in given]
    for batch, (_, others) in zip(batches, given, strict=True):
        batch["spec"] |= {"dependsOn": others} if others else {}
    (place.manifests / "all.yaml").write_text(as_file(*batches, workerpool("pool")))
    done = place.run("run", place.manifests, "--output", "json")
    assert done.returncode == 1, done.stderr
    ended = {batch["name"]: (batch["state"], batch["dependencyFailed"]) for batch in json.loads(done.stdout)["batches"]}
    assert ended == {
        "default/load": ("Completed", False),
        "default/strict": ("Failed", True),
        "default/after": ("Failed", True),
        "default/extract": ("CompletedWithErrors", False),
    }
    assert (place.manifests / "ran").read_text().split() == ["extract", "load"]
    place.assert_nothing_is_left()
