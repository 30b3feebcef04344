"""What becomes of jobs that are lines for a process that stays; the processes are real."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil
import pytest
import uvloop

from hammerwork import AttemptFailedError, HandlerError, Job, JobFailedError
from hammerwork.errors import error_type
from hammerwork.handlers import StreamHandler, commands, lines
from tests.harness.streamed import COMMAND
from tests.harness.waiting import DEADLINE_SECONDS, happens

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

BATCH = UUID(int=5)


def job(do: str, index: int = 0, *, attempt: int = 1, **payload: Any) -> Job:
    return Job("mail", {"do": do, **payload}, batch_id=BATCH, index=index, attempt=attempt, max_attempts=4)


@pytest.fixture(params=["uvloop", "asyncio", "elsewhere"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs on each kind of event loop, and without what only Linux has."""
    if request.param == "elsewhere":
        monkeypatch.delattr(os, "pidfd_open")
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def on_loop(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, DEADLINE_SECONDS))

    return on_loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "COMMAND_END_SECONDS", 0.4)


def test_a_line_has_the_facts_of_the_job_and_outcomes_come_in_any_order(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with StreamHandler(COMMAND) as handler:
            assert await handler(job("echo", 7, attempt=2, text="ä\n")) == {
                "id": f"{BATCH}/7",
                "index": 7,
                "batch": str(BATCH),
                "queue": "mail",
                "attempt": 2,
                "maxAttempts": 4,
                "payload": {"do": "echo", "text": "ä\n"},
            }
            ended: list[int] = []

            async def one(do: str, index: int) -> None:
                await handler(job(do, index))
                ended.append(index)

            await asyncio.gather(*(one("hold", index) for index in range(3)), one("release", 3))
            assert ended == [3, 2, 1, 0]

    run(main())


def test_payloads_larger_than_the_pipe_go_through_in_both_directions(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with StreamHandler(COMMAND) as handler:
            jobs = [job("echo", index, text=str(index) * 300_000) for index in range(5)]
            assert [told["payload"] for told in await asyncio.gather(*map(handler, jobs))] == [j.payload for j in jobs]

    run(main())


@pytest.mark.parametrize(
    ("error", "kind", "recorded", "message", "retry_after"),
    [
        ("no", AttemptFailedError, "CommandFailed", "no", None),
        ({"message": "no", "type": "OutOfStock"}, AttemptFailedError, "OutOfStock", "no", None),
        ({"message": "no", "retry": False}, JobFailedError, "CommandFailed", "no", None),
        ({"type": "Busy", "retryAfter": 7}, AttemptFailedError, "Busy", "", 7),
        ({"type": "", "message": "no"}, AttemptFailedError, "CommandFailed", "no", None),
        ({"message": 5}, AttemptFailedError, "CommandFailed", "the outcome cannot be read: Expected `str`", None),
        (5, AttemptFailedError, "CommandFailed", "the outcome cannot be read: Expected `str | object | null`", None),
    ],
)
async def test_an_error_is_told_with_type_and_whether_it_is_final(
    error: Any, kind: type[Exception], recorded: str, message: str, retry_after: float | None
) -> None:
    async with StreamHandler(COMMAND) as handler:
        with pytest.raises(kind) as caught:
            await handler(job("fail", error=error))
    assert str(caught.value).startswith(message)
    assert error_type(caught.value) == recorded
    assert getattr(caught.value, "retry_after", None) == retry_after


def test_a_process_that_dies_fails_the_jobs_in_flight_and_is_started_again(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with StreamHandler(COMMAND) as handler:
            ends = await asyncio.gather(
                handler(job("echo", 0)), handler(job("hold", 1)), handler(job("die", 2)), return_exceptions=True
            )
            assert isinstance(ends[0], dict)
            for end in ends[1:]:
                assert isinstance(end, AttemptFailedError)
                assert "has ended, exit code 3, before the outcome of the job: about to die" in str(end)
            assert isinstance(await handler(job("pid", 3)), int)

    run(main())
    assert "has ended, exit code 3, with 2 jobs in flight" in caplog.text
    assert ": about to die" in caplog.text  # its standard error


async def test_a_signal_that_ends_a_process_is_named() -> None:
    async with StreamHandler(COMMAND) as handler:
        with pytest.raises(AttemptFailedError, match=r"has ended, ended by signal 9 \(SIGKILL\), before the outcome"):
            await handler(job("kill"))


async def test_a_process_that_dies_again_and_again_is_started_ever_more_seldom() -> None:
    async with StreamHandler(COMMAND) as handler:
        started = time.monotonic()
        for _ in range(4):
            with pytest.raises(AttemptFailedError):
                await handler(job("die"))
        assert time.monotonic() - started > 0.1 + 0.2 + 0.5


async def test_each_job_goes_to_the_process_with_the_fewest() -> None:
    async with StreamHandler(COMMAND, processes=3) as handler:
        held = [asyncio.create_task(handler(job("hold", index))) for index in range(3)]
        await asyncio.sleep(0)
        released = await asyncio.gather(*(handler(job("release", 3 + index)) for index in range(3)))
        assert len(set(released)) == 3
        assert sorted(await asyncio.gather(*held)) == sorted(released)


def test_lines_that_are_no_outcome_are_told_and_nothing_is_lost(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    said = ["hello", "[1]", '{"id": 5}', '{"id": "other/0"}', '{"id": "ID"}', '{"id": "ID"}', ""]

    async def main() -> None:
        async with StreamHandler(COMMAND) as handler:
            assert await handler(job("say", 0, lines=said)) is None
            assert isinstance(await handler(job("pid", 1)), int)

    run(main())
    for text in ("hello", "[1]", '{"id": 5}'):
        assert f"a line on standard output is no outcome: {text}" in caplog.text
    for name in ("other/0", f"{BATCH}/0"):
        assert f"an outcome of job {name}, which is not in flight there: it is unknown, or has had" in caplog.text


async def test_an_outcome_that_is_no_json_fails_its_job_and_no_other() -> None:
    async with StreamHandler(COMMAND) as handler:
        hold = asyncio.create_task(handler(job("hold", 0)))
        await asyncio.sleep(0)
        said = [
            f'looked at {{"id": "{BATCH}/0"}}',
            '{"result": {"id": "' + f"{UUID(int=6)}/0" + '"}, "mean": NaN, "id": "ID"}',
        ]
        with pytest.raises(AttemptFailedError, match="the outcome cannot be read: JSON is malformed"):
            await handler(job("say", 1, lines=said))
        assert await handler(job("say", 2, lines=['\ufeff{"id": "ID", "result": 5}'])) == 5  # as .NET begins its output
        assert await handler(job("release", 3)) == await hold


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("long", "was ended: it wrote 2,097,152 bytes without a line end"),
        ("mute", "closed its standard output"),
        ("deaf", "closed its standard input"),
    ],
)
async def test_a_process_that_breaks_the_protocol_is_ended(
    monkeypatch: pytest.MonkeyPatch, do: str, message: str
) -> None:
    monkeypatch.setattr(lines, "_CLOSED_SECONDS", 0.1)
    async with StreamHandler(COMMAND) as handler:
        broken = asyncio.create_task(handler(job(do, 0)))
        lines_after: list[asyncio.Task[Any]] = []
        while do == "deaf" and not broken.done():  # only a line that it does not take any more finds that out
            lines_after.append(asyncio.create_task(handler(job("pid", 1 + len(lines_after)))))
            await asyncio.sleep(0.01)
        with pytest.raises(AttemptFailedError, match=message):
            await broken
        await asyncio.gather(*lines_after, return_exceptions=True)
        assert isinstance(await handler(job("pid", 0)), int)


@pytest.mark.usefixtures("impatient")
def test_a_job_that_is_cut_short_ends_its_process_and_others_in_flight_may_finish(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with StreamHandler(COMMAND) as handler:
            first = await handler(job("pid", 0))
            hung = asyncio.create_task(handler(job("hang", 1)))
            behind = asyncio.create_task(handler(job("echo", 2)))
            await asyncio.sleep(0)
            hung.cancel()
            await asyncio.sleep(0)
            second = await handler(job("pid", 3))  # at once, by another process
            assert second != first
            assert not (hung.done() and psutil.pid_exists(first))  # it has not ended as long as it may still run
            with pytest.raises(asyncio.CancelledError):
                await hung
            with pytest.raises(AttemptFailedError, match=rf"was ended: job {BATCH}/1 had to be cut short"):
                await behind
            assert not psutil.pid_exists(first)

            held = asyncio.create_task(handler(job("hold", 4)))
            other = asyncio.create_task(handler(job("hold", 5)))
            release = asyncio.create_task(handler(job("release", 6)))
            held.cancel()
            assert set(await asyncio.gather(other, release)) == {second}
            with pytest.raises(asyncio.CancelledError):
                await held

    run(main())


def test_processes_end_with_their_input_and_get_signals_only_if_they_do_not(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)

    async def polite() -> None:
        async with StreamHandler(COMMAND, processes=2) as handler:
            await handler(job("pid"))

    run(polite())
    assert caplog.text.count("end of input") == 2
    assert "has ended" not in caplog.text

    monkeypatch.setattr(lines, "COMMAND_END_SECONDS", 0.4)

    async def stubborn() -> int:
        async with StreamHandler(COMMAND) as handler:
            pid: int = await handler(job("pid", 0))
            hung = asyncio.create_task(handler(job("hang", 1)))
            await happens(lambda: "hangs" in caplog.text)
        with pytest.raises(AttemptFailedError, match="was ended: the worker ends, ended by signal 9"):
            await hung
        return pid

    assert not psutil.pid_exists(run(stubborn()))


def test_an_event_loop_that_ends_ends_the_processes(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.end, "__kwdefaults__", {"patience": 0.3})
    busy = set()

    async def main() -> int:
        handler = StreamHandler(COMMAND)
        pid: int = await handler(job("pid", 0))
        busy.add(asyncio.create_task(handler(job("hang", 1))))
        await happens(lambda: "hangs" in caplog.text)
        return pid  # and all tasks are cancelled, as when an error ends a program

    assert not psutil.pid_exists(run(main()))


async def test_a_handler_of_several_workers_is_open_until_the_last_has_ended() -> None:
    handler = StreamHandler(COMMAND)
    async with handler:
        async with handler:
            pid = await handler(job("pid", 0))
        assert await handler(job("pid", 1)) == pid


async def test_a_job_that_is_in_flight_is_not_given_a_second_time() -> None:
    async with StreamHandler(COMMAND) as handler:
        first = asyncio.create_task(handler(job("hold", 0)))
        await asyncio.sleep(0)
        again = asyncio.create_task(handler(job("pid", 0)))
        pid = await handler(job("release", 1))
        assert set(await asyncio.gather(first, again)) == {pid}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "command: is empty; it must be a program and its arguments"),
        (["no-such-program"], "command 'no-such-program': no such program in PATH"),
        (["cat", "{{ payload.a }}"], "argument '{{ payload.a }}': a process that stays has no job"),
    ],
)
def test_what_cannot_be_run_is_refused_when_it_is_loaded(command: list[str], message: str) -> None:
    with pytest.raises(HandlerError) as caught:
        StreamHandler(command)
    assert str(caught.value).startswith(message)


async def test_a_program_that_goes_missing_fails_attempts(tmp_path: Path) -> None:
    program = tmp_path / "run"
    program.symlink_to("/bin/cat")
    handler = StreamHandler(["./run"], folder=tmp_path)
    program.unlink()
    async with handler:
        with pytest.raises(AttemptFailedError, match=r"^the command './run' cannot be started: No such file"):
            await handler(job("pid"))


async def test_nothing_stays_open() -> None:
    before = psutil.Process().num_fds()
    async with StreamHandler(COMMAND, processes=2) as handler:
        await asyncio.gather(*(handler(job("die", index)) for index in range(2)), return_exceptions=True)
        await handler(job("pid", 2))
    await happens(lambda: psutil.Process().num_fds() == before)


def test_a_program_that_is_no_worker_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with StreamHandler(["sh", "-c", "echo usage >&2; exit 2"]) as handler:
            with pytest.raises(
                AttemptFailedError, match=r"\(sh\) .*exit code 2, before the outcome of the job: usage$"
            ):
                await handler(job("pid"))

    asyncio.run(main())
    assert "(sh): usage" in caplog.text
