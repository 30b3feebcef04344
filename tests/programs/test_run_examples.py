"""`hammerwork run` with the examples, and as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.harness.examples import (
    BILLED_METERS,
    DEBIANS_PATH,
    FEW_TILE_PIXELS,
    expected_bills,
    wrong_receipts,
    wrong_thumbnails,
    wrong_tile_pixels,
)
from tests.harness.observing import only_postgres, sql
from tests.programs.place import COMMAND, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.place import Place


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


def test_the_iban_check_example_fails_the_wrong_accounts_only(place: Place) -> None:
    done = place.run("run", "examples/iban-check", "--output", "json")

    assert done.returncode == 1, done.stderr
    [batch] = json.loads(done.stdout)["batches"]
    assert batch["state"] == "CompletedWithErrors"
    assert (batch["completedJobs"], batch["failedJobs"]) == (9, 3)
    message = "Juniper Ltd: GB92 NWBK 6016 1331 9268 19: The number's checksum or check digit is invalid."
    assert batch["errors"] == [{"type": "WrongIbanError", "count": 3, "index": 9, "message": message}]
    place.assert_nothing_is_left()


RETRIED_BILLS = """
from electricity_bills import bill
from hammerwork import batch_handler

@batch_handler
async def fail_at_first(jobs):
    outcomes = await bill(jobs)
    with open("{seen}", "a") as seen:
        seen.writelines(f"{{job.index}} {{job.attempt}}\\n" for job in jobs)
    if jobs[0].attempt == 1:
        raise ConnectionError("the bills are stored, and nobody has been told")
    return outcomes
"""


@only_postgres
async def test_the_electricity_bills_example_stores_each_bill_once_however_often_its_job_runs(
    place: Place, database_url: str
) -> None:
    place.environment["BILLS_DATABASE_URL"] = database_url
    assert place.execute([sys.executable, "examples/electricity-bills/electricity_bills.py"]).returncode == 0
    example = ("run", "examples/electricity-bills", "--database-url", database_url)
    done = place.run(*example)
    assert done.returncode == 0, done.stderr
    assert await _bills(database_url) == expected_bills()

    seen = place.manifests / "seen"
    handler = place.manifests / "retried_bills.py"
    handler.write_text(RETRIED_BILLS.format(seen=seen))
    done = place.run(*example, "--handler", f"{handler}:fail_at_first")
    assert done.returncode == 0, done.stderr
    runs = Counter(seen.read_text().splitlines())
    assert runs == Counter(f"{index} {attempt}" for index in range(BILLED_METERS) for attempt in (1, 2))
    assert await _bills(database_url) == expected_bills()
    place.assert_nothing_is_left()


async def _bills(database_url: str) -> dict[str, tuple[int, int]]:
    async with sql(database_url) as connection:
        rows = await connection.rows("SELECT meter, kwh, cents FROM bills")
        return {meter: (kwh, cents) for meter, kwh, cents in rows}


def test_the_thumbnails_example_makes_each_thumbnail_of_its_picture(place: Place) -> None:
    folder = shutil.copytree(ROOT / "examples" / "thumbnails", place.manifests / "thumbnails")
    done = place.run("run", folder, PATH=DEBIANS_PATH)
    assert done.returncode == 0, done.stderr
    assert wrong_thumbnails(folder / "pictures", _pictures(folder / "thumbnails")) == {}
    place.assert_nothing_is_left()


def test_the_receipts_example_has_a_node_program_write_each_receipt(place: Place) -> None:
    folder = shutil.copytree(ROOT / "examples" / "receipts", place.manifests / "receipts")
    done = place.run("run", folder, PATH=DEBIANS_PATH)
    assert done.returncode == 0, done.stderr
    receipts = {path.name: path.read_text() for path in (folder / "receipts").glob("*.txt")}
    assert wrong_receipts(receipts) == {}
    place.assert_nothing_is_left()


def test_the_fractal_tiles_example_has_a_go_service_render_each_tile(place: Place) -> None:
    tiles = place.manifests / "tiles"
    with _tile_server(tiles) as port:
        done = place.run("run", "examples/fractal-tiles", "--handler", f"http://127.0.0.1:{port}/jobs")
        assert done.returncode == 0, done.stderr
    pictures = _pictures(tiles)
    assert pictures.keys() == {f"3-{column}-{row}.png" for row in range(8) for column in range(8)}
    for tile in range(64):
        assert wrong_tile_pixels(3, tile, pictures[f"3-{tile % 8}-{tile // 8}.png"]) < FEW_TILE_PIXELS
    place.assert_nothing_is_left()


@contextlib.contextmanager
def _tile_server(tiles: Path) -> Iterator[int]:
    """The example's own service on a free port of the loopback."""
    program = tiles.with_name("fractal-tiles")
    subprocess.run(
        ["go", "build", "-o", program, "."], cwd=ROOT / "examples" / "fractal-tiles", timeout=120, check=True
    )
    command: list[str | Path] = [program, "-listen", "127.0.0.1:0", "-tiles", tiles]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            assert "listening on 127.0.0.1:" in line
            yield int(line.rpartition(":")[2])
            server.terminate()
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()


def _pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


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
