"""Handlers of kind `exec`: a process for each job. docs/handlers.md has the contract."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES
from hammerwork.errors import AttemptFailedError, HandlerError, JobFailedError
from hammerwork.handlers import commands
from hammerwork.handlers.arguments import command_in, compile_arguments, has_placeholder
from hammerwork.handlers.kinds import Field, Kind, read_json
from hammerwork.handlers.results import decoded

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from hammerwork.batch import Job

FAIL_CODES = (100,)
ERROR_TYPE = "CommandFailed"
"""What failures of commands are recorded as."""

MAX_RESULT_BYTES = MAX_PAYLOAD_BYTES
MAX_MESSAGE_BYTES = 800
"""Of standard error in a message; with what stands before it, it fits the message of a recorded failure."""
LINGER_SECONDS = 0.1
"""How long output of processes that a command has left behind is waited for."""

_READ_BYTES = 64 * 1024
_TOO_LONG = frozenset({errno.E2BIG, errno.ENAMETOOLONG})


ExitCode = Annotated[int, msgspec.Meta(ge=1, le=255)]


class ExecHandler:
    """Runs a command for each job, with the payload as JSON on standard input.

    Args:
        command: Program and arguments. Placeholders: ``{{ payload.PATH }}``, ``{{ payload }}``, ``{{ index }}``,
            ``{{ id }}``.
        fail_codes: Exit codes by which the command fails its job for good.
        folder: Its working directory; by default that of this process.

    Raises:
        HandlerError: The command is not there or cannot be executed, or has an unknown placeholder.
    """

    def __init__(
        self, command: Sequence[str], *, fail_codes: Collection[int] = FAIL_CODES, folder: Path | None = None
    ) -> None:
        if not command or not command[0]:
            raise HandlerError("command: is empty; it must be a program and its arguments")
        self._arguments = compile_arguments(command)
        self._program = None if has_placeholder(command[0]) else commands.find_program(command[0], folder)
        self._fail_codes = frozenset(fail_codes)
        self._folder = folder
        self._environment = commands.base_environment()

    async def __call__(self, job: Job) -> Any:
        """Run the command; returns its standard output, decoded if that is JSON, None if it is empty.

        Cancelled, it ends the command: SIGTERM to its process group, and SIGKILL after `timing.COMMAND_END_SECONDS`.

        Raises:
            AttemptFailedError: It could not be started, or ended otherwise than with exit code 0.
            JobFailedError: It ended with one of the `fail_codes`, or the payload makes no arguments.
        """
        finished = await self._run(job)
        if finished.code == 0:
            return decoded(finished.output)
        message = f"{commands.describe(finished.code)}: {commands.told(finished.errors)}"
        if finished.code in self._fail_codes:
            raise JobFailedError(message, error_type=ERROR_TYPE)
        raise AttemptFailedError(message, error_type=ERROR_TYPE)

    async def _run(self, job: Job) -> _Finished:
        arguments = self._arguments(job)
        output = _Pipe(MAX_RESULT_BYTES)
        try:
            errors = _Pipe(-MAX_MESSAGE_BYTES)
        except BaseException:
            output.close()
            raise
        try:
            process = await self._start(job, arguments, output, errors)
            try:
                await commands.ended(process)
                await _both_read(output, errors)
            except BaseException:
                await commands.end(process)
                raise
            finally:
                code = commands.reap(process)
            return _Finished(code, output.kept, errors.kept)
        finally:
            output.close()
            errors.close()

    async def _start(self, job: Job, arguments: list[str], output: _Pipe, errors: _Pipe) -> subprocess.Popen[bytes]:
        given = _file_with(msgspec.json.encode(job.payload))
        try:
            return await commands.start_aside(
                arguments,
                executable=self._program,
                stdin=given,
                stdout=output.writer,
                stderr=errors.writer,
                env=self._environment | commands.facts_of(job),
                cwd=self._folder,
            )
        except OSError as error:
            if error.errno in _TOO_LONG:
                raise JobFailedError(
                    f"the command cannot be started: {error.strerror}: its arguments and environment have "
                    f"{sum(map(len, arguments)):,} characters and more; standard input has the payload, too",
                    error_type=ERROR_TYPE,
                ) from error
            raise AttemptFailedError(
                f"the command {arguments[0]!r} cannot be started: {error.strerror}", error_type=ERROR_TYPE
            ) from error
        except ValueError as error:  # a NUL, or half of a surrogate pair
            raise JobFailedError(f"the payload makes no arguments: {error}", error_type=ERROR_TYPE) from error
        finally:
            os.close(given)
            output.close_writer()
            errors.close_writer()


class _Finished(NamedTuple):
    code: int
    output: bytes
    errors: bytes


class _Pipe:
    """What a process writes, read as it comes and kept in part: the first `most` bytes, or the last ``-most``."""

    def __init__(self, most: int) -> None:
        self.kept = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nobody has it open for writing any more."""
        self._most = most
        self._reader, self.writer = os.pipe()
        self._writing = self._reading = True
        os.set_blocking(self._reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self.close()
        elif self._most < 0:
            self.kept = (self.kept + chunk)[self._most :]
        elif len(self.kept) < self._most:
            self.kept += chunk[: self._most - len(self.kept)]

    def close_writer(self) -> None:
        """Leave the writing to the process."""
        if self._writing:
            self._writing = False
            os.close(self.writer)

    def close(self) -> None:
        """Read no more."""
        self.close_writer()
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
        if not self.ended.done():
            self.ended.set_result(None)


async def _both_read(output: _Pipe, errors: _Pipe) -> None:
    """Wait for the end of what was written, but not for processes left behind that could still write."""
    if not (output.ended.done() and errors.ended.done()):
        await asyncio.wait({output.ended, errors.ended}, timeout=LINGER_SECONDS)


def _file_with(content: bytes) -> int:
    """Return a file to read `content` from, that has no name. Unlike a pipe it takes all at once, and may stay unread.

    It is in memory where the system has such files.
    """
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("payload")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


def load(fields: Mapping[str, str], folder: Path | None) -> ExecHandler:
    """Return the handler that runs the field `command`."""
    fail_codes = FAIL_CODES
    if "failCodes" in fields:
        fail_codes = tuple(read_json(fields["failCodes"], list[ExitCode], KIND, "failCodes"))
    return ExecHandler(read_json(fields["command"], list[str], KIND, "command"), fail_codes=fail_codes, folder=folder)


KIND = Kind(
    name="exec",
    fields={
        "command": Field(
            variable="HAMMERWORK_EXEC_COMMAND",
            purpose="the command to run for each job",
            allowed='a list of texts in JSON, such as ["convert", "{{ payload.in }}", "out.png"]',
        ),
        "failCodes": Field(
            variable="HAMMERWORK_EXEC_FAIL_CODES",
            purpose="the exit codes that fail a job for good",
            allowed="a list of numbers in JSON, 1 to 255, such as [100]",
        ),
    },
    load=load,
    text="'exec:COMMAND ARGUMENT …'",
    from_text=lambda text: command_in(text, "exec:"),
)
