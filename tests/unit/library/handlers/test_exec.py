"""What becomes of a job whose handler is a command; the commands are real."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil
import pytest
import uvloop

from hammerwork import AttemptFailedError, HandlerError, Job, JobFailedError
from hammerwork.errors import error_type
from hammerwork.handlers import ExecHandler, commands
from hammerwork.handlers import exec as exec_handler
from hammerwork.handlers.exec import MAX_MESSAGE_BYTES, MAX_RESULT_BYTES
from tests.harness.waiting import DEADLINE_SECONDS, happens

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

JOB = Job("mail", {"to": "a b", "n": [1]}, batch_id=UUID(int=5), index=7, attempt=2, max_attempts=4)


@pytest.fixture(params=["uvloop", "asyncio", "elsewhere"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs on each kind of event loop, and without what only Linux has."""
    if request.param == "elsewhere":
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.delattr(os, "memfd_create")
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def on_loop(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, DEADLINE_SECONDS))

    return on_loop


def shell(script: str, **options: Any) -> ExecHandler:
    return ExecHandler(["sh", "-c", script], **options)


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (["cat"], JOB.payload),
        (["true"], None),
        (["echo"], None),
        (["echo", "-n", "{{ payload.to }}", "{{ index }}"], "a b 7"),
        (["printf", r"two\nlines\n"], "two\nlines"),
        (["printf", r"\303\050"], "\N{REPLACEMENT CHARACTER}("),
        (["printf", "[%s]" * 600], "[]" * 600),
        (["sh", "-c", "exec <&-; echo 1"], 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_a_command_writes_is_the_result(run: Callable[..., Any], command: list[str], result: Any) -> None:
    assert run(ExecHandler(command)(JOB)) == result


def test_a_command_may_end_without_reading_a_large_payload(run: Callable[..., Any]) -> None:
    assert run(ExecHandler(["true"])(Job("q", "x" * 1_000_000, batch_id=UUID(int=1)))) is None


def test_what_a_command_writes_is_bounded_in_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    script = "head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2"
    assert asyncio.run(shell(script)(JOB)) == "\0" * MAX_RESULT_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("echo no >&2; exit 100", JobFailedError, "exit code 100: no"),
        ("echo no >&2; exit 3", AttemptFailedError, "exit code 3: no"),
        ("exit 3", AttemptFailedError, "exit code 3: nothing on standard error"),
        ("kill -9 $$", AttemptFailedError, "ended by signal 9 (SIGKILL): nothing on standard error"),
        ("kill -40 $$", AttemptFailedError, "ended by signal 40: nothing on standard error"),
        (r"printf '\377\n' >&2; exit 1", AttemptFailedError, "exit code 1: \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_how_a_command_ended_is_told(run: Callable[..., Any], script: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        run(shell(script)(JOB))
    assert str(caught.value) == message
    assert error_type(caught.value) == "CommandFailed"


def test_which_exit_codes_fail_for_good_can_be_chosen() -> None:
    for code, kind in ((3, JobFailedError), (4, JobFailedError), (100, AttemptFailedError)):
        with pytest.raises(kind):
            asyncio.run(shell(f"exit {code}", fail_codes=[3, 4])(JOB))


def test_the_end_of_standard_error_is_told() -> None:
    with pytest.raises(AttemptFailedError) as caught:
        asyncio.run(shell("seq 100000 >&2; exit 1")(JOB))
    assert str(caught.value).endswith("99999\n100000")
    assert len(str(caught.value)) <= MAX_MESSAGE_BYTES + len("exit code 1: ")


def test_a_command_finds_its_job_in_the_environment_and_not_the_workers_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HAMMERWORK_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("HOME_OF_THE_TEST", "here")
    printed = asyncio.run(ExecHandler(["env", "-0"])(JOB))
    found = dict(line.split("=", 1) for line in printed.split("\0") if line)
    assert found["HOME_OF_THE_TEST"] == "here"
    assert {name: value for name, value in found.items() if name.startswith("HAMMERWORK_")} == {
        "HAMMERWORK_JOB_ID": f"{UUID(int=5)}/7",
        "HAMMERWORK_JOB_INDEX": "7",
        "HAMMERWORK_BATCH": str(UUID(int=5)),
        "HAMMERWORK_QUEUE": "mail",
        "HAMMERWORK_ATTEMPT": "2",
        "HAMMERWORK_MAX_ATTEMPTS": "4",
    }
    for name in ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "BATCH_TASK_INDEX", "SLURM_ARRAY_TASK_ID"):
        assert found[name] == "7"


def test_signals_that_python_ignores_end_a_command() -> None:
    # With SIGPIPE ignored, `yes` would complain about its standard output.
    assert asyncio.run(shell("yes | head -1; yes 2>&1 | true")(JOB)) == "y"


def test_a_command_runs_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "here.sh").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "here.sh").chmod(0o755)
    for name in ("./here.sh", str(tmp_path / "here.sh"), "{{ payload }}"):
        handler = ExecHandler([name], folder=tmp_path)
        assert asyncio.run(handler(Job("q", "./here.sh", batch_id=UUID(int=1)))) == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-program", "command 'no-such-program': no such program in PATH (/usr/bin:/bin)"),
        ("./absent.sh", "command './absent.sh': no file {folder}/absent.sh"),
        ("./plain.sh", "command './plain.sh': {folder}/plain.sh is not executable"),
        (".", "command '.': no such program in PATH (/usr/bin:/bin)"),
        ("./", "command './': no file {folder}"),
        ("", "command: is empty; it must be a program and its arguments"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "plain.sh").write_text("exit 0\n")
    with pytest.raises(HandlerError) as caught:
        ExecHandler([name], folder=tmp_path)
    assert str(caught.value) == message.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("command", "payload", "kind", "message"),
    [
        (["{{ payload }}"], "no-such-program", AttemptFailedError, os.strerror(errno.ENOENT)),
        (["{{ payload }}"], "/etc/passwd", AttemptFailedError, os.strerror(errno.EACCES)),
        (["./no-shebang"], "", AttemptFailedError, os.strerror(errno.ENOEXEC)),
        (["true", "{{ payload }}"], "x" * 200_000, JobFailedError, "standard input has the payload, too"),
        (["true", "{{ payload }}"], "a\0b", JobFailedError, "the payload makes no arguments: embedded null byte"),
    ],
    ids=["absent", "not executable", "no program", "too long", "a NUL"],
)
def test_a_command_that_cannot_be_started_for_a_job_is_told(
    tmp_path: Path, command: list[str], payload: str, kind: type[Exception], message: str
) -> None:
    (tmp_path / "no-shebang").write_bytes(b"\x01\x02\x03")
    (tmp_path / "no-shebang").chmod(0o755)
    with pytest.raises(kind) as caught:
        asyncio.run(ExecHandler(command, folder=tmp_path)(Job("q", payload, batch_id=UUID(int=1))))
    assert message in str(caught.value)


def test_children_left_behind_neither_hold_the_lane_nor_stay(run: Callable[..., Any]) -> None:
    for pipes in ("", ">/dev/null 2>&1"):  # with standard output and error open, and without
        child = run(shell(f"sleep 1000 {pipes} & echo $!")(JOB))
        asyncio.run(happens(partial(_gone, child)))


def test_a_background_child_may_finish_what_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_handler, "LINGER_SECONDS", DEADLINE_SECONDS)
    assert asyncio.run(shell("(sleep 0.02; echo 5) &")(JOB)) == 5


@pytest.mark.parametrize("script", ["trap 'exit 0' TERM; sleep 1000 & wait", "trap '' TERM; sleep 1000 & sleep 1000"])
def test_a_cancelled_command_ends_with_all_of_its_group(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(commands.end, "__kwdefaults__", {"patience": 0.3})
    handler = shell(f"echo $$ > {tmp_path}/pid; {script}")

    async def cancelled() -> None:
        running = asyncio.create_task(handler(JOB))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    started = time.monotonic()
    run(cancelled())
    assert time.monotonic() - started < DEADLINE_SECONDS, "nobody waited for the sleep"
    group = int((tmp_path / "pid").read_text())
    asyncio.run(happens(partial(_group_is_gone, group)))


def test_a_command_that_is_cancelled_as_it_starts_is_ended(run: Callable[..., Any], tmp_path: Path) -> None:
    async def cancelled() -> None:
        for turns in range(5):
            running = asyncio.create_task(shell("sleep 1000; echo late > late", folder=tmp_path)(JOB))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    open_before = run(_open_files())
    run(cancelled())
    assert run(_open_files()) == open_before
    asyncio.run(happens(lambda: not [p for p in psutil.Process().children() if p.name() in {"sh", "sleep"}]))


async def test_a_command_that_is_cancelled_and_cannot_be_started_is_cancelled() -> None:
    starting = asyncio.create_task(ExecHandler(["{{ payload.to }}"])(JOB))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def _open_files() -> int:
    return int(psutil.Process().num_fds())


def test_nothing_stays_open(run: Callable[..., Any]) -> None:
    async def many() -> int:
        for script in ("exit 0", "exit 1", "sleep 1000 &"):
            await asyncio.gather(*(shell(script)(JOB) for _ in range(5)), return_exceptions=True)
        with pytest.raises(AttemptFailedError):
            await ExecHandler(["{{ payload.to }}"])(JOB)
        return await _open_files()

    assert run(many()) == run(_open_files())


def _gone(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _group_is_gone(group: int) -> bool:
    return all(_gone(process.pid) for process in psutil.process_iter() if _group_of(process.pid) == group)


def _group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None
