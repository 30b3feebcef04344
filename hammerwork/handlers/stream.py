"""Handlers of kind `stream`: processes that stay, one line for each job. docs/handlers.md has the protocol."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from hammerwork.errors import AttemptFailedError, HandlerError
from hammerwork.handlers import commands
from hammerwork.handlers.arguments import command_in, has_placeholder
from hammerwork.handlers.kinds import Field, Kind, read_json
from hammerwork.handlers.lifetime import Held
from hammerwork.handlers.lines import ERROR_TYPE, LineProcess
from hammerwork.timing import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hammerwork.batch import Job

MAX_PROCESSES = 256

Processes = Annotated[int, msgspec.Meta(ge=1, le=MAX_PROCESSES)]


class StreamHandler(Held):
    """Hands jobs to processes that stay, a line for each, and takes a line for each outcome.

    Args:
        command: Program and arguments, without placeholders.
        processes: How many there are; each job goes to the one with the fewest jobs in flight.
        folder: Their working directory; by default that of this process.

    Raises:
        HandlerError: The command is not there or cannot be executed, or has a placeholder.
    """

    def __init__(self, command: Sequence[str], *, processes: int = 1, folder: Path | None = None) -> None:
        if not command or not command[0]:
            raise HandlerError("command: is empty; it must be a program and its arguments")
        if placeholder := next(filter(has_placeholder, command), None):
            raise HandlerError(f"argument {placeholder!r}: a process that stays has no job to fill a placeholder from")
        self._command = list(command)
        self._program = commands.find_program(command[0], folder)
        self._folder = folder
        self._count = processes
        self._open: list[LineProcess] = []
        """Those that take jobs."""
        self._all: set[LineProcess] = set()
        self._failures = 0
        """Processes in a row that ended without an outcome."""
        self._not_before = 0.0
        """When the next process may be started, by the loop's clock."""

    def open(self) -> None:
        """Start the processes; those that cannot be started are tried again with a job."""
        with contextlib.suppress(AttemptFailedError):
            self._start_missing()

    async def close(self) -> None:
        """End the processes: their standard input ends, then comes SIGTERM, then SIGKILL."""
        ends = [process.end("was ended: the worker ends") for process in self._all]
        if ends:
            await asyncio.wait(ends)

    async def __call__(self, job: Job) -> Any:
        """Have a process run the job; returns the result that it tells.

        Cancelled, it ends that process, and waits until the job can run no more.

        Raises:
            AttemptFailedError: The process told an error, or ended before it told the outcome.
            JobFailedError: It told an error that is final.
        """
        process = self._least_busy() or await self._next_process()
        name = job.id
        if name in process.waiting:  # claimed again while its first attempt goes on here
            await asyncio.wait({process.waiting[name]})
            return await self(job)
        future = process.send(job, name)
        try:
            return await future
        except asyncio.CancelledError:
            await process.give_up(name)
            raise

    def _least_busy(self) -> LineProcess | None:
        """Return where the next job goes; None while no process may be started.

        Raises:
            AttemptFailedError: None can be started.
        """
        running = self._open
        if len(running) < self._count:
            self._start_missing()
        return min(running, key=lambda process: len(process.waiting)) if len(running) > 1 else next(iter(running), None)

    async def _next_process(self) -> LineProcess:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._not_before - loop.time(), 0.001))
            if process := self._least_busy():
                return process

    def _start_missing(self) -> None:
        now = asyncio.get_running_loop().time()
        self._all = {process for process in self._all if not process.over}
        while len(self._open) < self._count and now >= self._not_before:
            try:
                process = LineProcess(
                    self._command, program=self._program, folder=self._folder, ended=self._takes_no_more
                )
            except OSError as error:
                self._back_off()
                if self._open:
                    return
                raise AttemptFailedError(
                    f"the command {self._command[0]!r} cannot be started: {error.strerror}", error_type=ERROR_TYPE
                ) from error
            self._open.append(process)
            self._all.add(process)

    def _takes_no_more(self, process: LineProcess) -> None:
        self._open.remove(process)
        if process.has_answered:
            self._failures = 0
        self._back_off()

    def _back_off(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + backoff(self._failures)
        self._failures += 1


def load(fields: Mapping[str, str], folder: Path | None) -> StreamHandler:
    """Return the handler that the fields describe."""
    processes = 1
    if "processes" in fields:
        processes = read_json(fields["processes"], Processes, KIND, "processes")
    return StreamHandler(read_json(fields["command"], list[str], KIND, "command"), processes=processes, folder=folder)


KIND = Kind(
    name="stream",
    fields={
        "command": Field(
            variable="HAMMERWORK_STREAM_COMMAND",
            purpose="the command that takes a line for each job",
            allowed='a list of texts in JSON, such as ["node", "worker.js"]',
        ),
        "processes": Field(
            variable="HAMMERWORK_STREAM_PROCESSES",
            purpose="how many processes run it",
            allowed=f"a whole number, 1 to {MAX_PROCESSES}",
        ),
    },
    load=load,
    text="'stream:COMMAND ARGUMENT …'",
    from_text=lambda text: command_in(text, "stream:"),
)
