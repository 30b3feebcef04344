"""A process that stays: jobs go in as lines, outcomes come out as lines. docs/handlers.md has the protocol."""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.errors import AttemptFailedError, JobFailedError
from hammerwork.handlers import commands
from hammerwork.timing import COMMAND_END_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hammerwork.batch import Job

logger = logging.getLogger("hammerwork.worker")

ERROR_TYPE = "CommandFailed"
"""What failures are recorded as that the program gives no type."""

MAX_LINE_BYTES = 2 * 1024 * 1024
"""Of an outcome; a process that writes more without a line end is ended."""
MAX_MESSAGE_BYTES = 800
"""Of standard error in a message."""

_SHOWN_BYTES = 200
_CLOSED_SECONDS = 1.0
_READ_BYTES = 256 * 1024


class _JobLine(msgspec.Struct, rename="camel"):
    id: str
    index: int
    batch: str
    queue: str
    attempt: int
    max_attempts: int
    payload: Any


class _Error(msgspec.Struct, rename="camel"):
    message: str = ""
    type: str = ERROR_TYPE
    retry: bool = True
    retry_after: float | None = None


class _Outcome(msgspec.Struct):
    id: str
    result: Any = None
    error: str | _Error | None = None


class _Id(msgspec.Struct):
    id: str


_encode = msgspec.json.Encoder().encode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_decode_id = msgspec.json.Decoder(_Id).decode
_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f-]{36}/[0-9]{1,10})"')


class LineProcess:
    """One process, and the jobs that it has been given and has not answered."""

    def __init__(
        self, command: Sequence[str], *, program: str, folder: Path | None, ended: Callable[[LineProcess], None]
    ) -> None:
        """Start it.

        Args:
            command: Its name and arguments.
            program: The path of what is executed.
            folder: Its working directory; None is that of this process.
            ended: Called when it takes no more jobs, once.

        Raises:
            OSError: It cannot be started.
        """
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        """Jobs in flight, by id."""
        self.open = True
        """Whether it takes jobs."""
        self.has_answered = False
        self._ended = ended
        self._ending: asyncio.Task[None] | None = None
        self._why = ""
        """Why it is being ended, for the jobs in flight; empty if nobody ends it."""
        self._name = os.path.basename(command[0])  # noqa: PTH119 (a name, not a path)
        self._loop = asyncio.get_running_loop()
        self._process = commands.start(
            command,
            executable=program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=commands.base_environment(),
            cwd=folder,
        )
        self._jobs: list[bytes] = []
        self._unwritten = memoryview(b"")
        self._writing = False
        self._output = Lines(self._process.stdout, self._outcome, self._output_closed, self._too_long)
        self._errors = Lines(self._process.stderr, self._complaint)
        self._tail = b""
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._input = self._stdin.fileno()
        os.set_blocking(self._input, False)
        self._watching = asyncio.create_task(self._watch())

    def send(self, job: Job, name: str) -> asyncio.Future[Any]:
        """Give it a job, whose id is `name`; returns the future of its result, or of the error of its attempt."""
        line = _JobLine(name, job.index, name.rpartition("/")[0], job.queue, job.attempt, job.max_attempts, job.payload)
        self._jobs.append(_encode(line))
        future: asyncio.Future[Any] = self._loop.create_future()
        self.waiting[name] = future
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)
        return future

    async def give_up(self, name: str) -> None:
        """End the process since this job was cut short; return when the job can run no more.

        The others in flight may finish until the process has ended.
        """
        if name not in self.waiting:  # its outcome has just come
            return
        over = self.waiting[name] = self._loop.create_future()
        over.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody asks for it
        self.end(f"was ended: job {name} had to be cut short")
        await asyncio.wait({over})

    def end(self, why: str) -> asyncio.Task[None]:
        """Give it no more jobs, close its standard input, and see to it that it ends.

        Args:
            why: What its jobs in flight are told, e.g. ``was ended: …``.

        Returns:
            The task that ends it; done when the process has been reaped.
        """
        if self._ending is None:
            self._why = why
            self._close()
            self._ending = asyncio.create_task(self._end())
        return self._ending

    @property
    def over(self) -> bool:
        """Whether it has been reaped."""
        return self._watching.done()

    async def _end(self) -> None:
        patience = COMMAND_END_SECONDS / 2
        if not self._writing:
            self._close_input()
        _, pending = await asyncio.wait({self._watching}, timeout=patience)
        if pending:
            await commands.end(self._process, patience=patience)
        await self._watching

    def _close(self) -> None:
        if self.open:
            self.open = False
            self._ended(self)

    def _close_input(self) -> None:
        if not self._stdin.closed:
            self._loop.remove_writer(self._input)
            self._stdin.close()

    def _write(self) -> None:
        """Write what there is, and as much as the pipe takes."""
        if self._stdin.closed:
            return
        if not self._unwritten:
            self._jobs.append(b"")
            self._unwritten = memoryview(b"\n".join(self._jobs))
            self._jobs.clear()
        try:
            self._unwritten = self._unwritten[os.write(self._input, self._unwritten) :]
        except BlockingIOError:
            pass
        except OSError:  # it has closed its standard input
            self._loop.remove_writer(self._input)
            self.end("closed its standard input")
            return
        if self._unwritten or self._jobs:
            self._loop.add_writer(self._input, self._write)
            return
        self._loop.remove_writer(self._input)
        self._writing = False
        if self._ending is not None:
            self._close_input()

    def _outcome(self, line: bytes) -> None:
        try:
            outcome = _decode_outcome(line)
        except (ValueError, RecursionError) as error:
            self._no_outcome(line, error)
            return
        future = self._answered(outcome.id)
        if future is None:
            return
        told = outcome.error
        if told is None:
            future.set_result(outcome.result)
        else:
            future.set_exception(_failure(_Error(told) if isinstance(told, str) else told))

    def _no_outcome(self, line: bytes, error: Exception) -> None:
        """Fail the job whose outcome cannot be read; a line that has not even an id is told only."""
        if line.startswith(codecs.BOM_UTF8):  # some runtimes begin their output with it
            self._outcome(line.removeprefix(codecs.BOM_UTF8))
            return
        name = self._id_in(line)
        if name is None:
            if line.strip():
                shown = line[:_SHOWN_BYTES].decode(errors="replace")
                logger.warning("%s: a line on standard output is no outcome: %s", self, shown)
            return
        if (future := self._answered(name)) is not None:
            future.set_exception(AttemptFailedError(f"the outcome cannot be read: {error}", error_type=ERROR_TYPE))

    def _id_in(self, line: bytes) -> str | None:
        """Return the id in an outcome that cannot be read, also where that is no JSON, as with NaN in the result."""
        try:
            return _decode_id(line).id
        except (ValueError, RecursionError):
            names = map(bytes.decode, _ID.findall(line) if line.lstrip().startswith(b"{") else ())
            return next((name for name in names if name in self.waiting), None)

    def _answered(self, name: str) -> asyncio.Future[Any] | None:
        future = self.waiting.pop(name, None)
        if future is None:
            logger.warning(
                "%s: an outcome of job %.200s, which is not in flight there: it is unknown, or has had its outcome",
                self,
                name,
            )
            return None
        self.has_answered = True
        return None if future.done() else future

    def _output_closed(self) -> None:
        """End a process that can tell nothing any more, unless it is about to end itself."""
        self._loop.call_later(_CLOSED_SECONDS, lambda: self.over or self.end("closed its standard output"))

    def _too_long(self) -> None:
        self.end(f"was ended: it wrote {MAX_LINE_BYTES:,} bytes without a line end")

    def _complaint(self, line: bytes) -> None:
        logger.warning("%s: %s", self, line[:_READ_BYTES].decode(errors="replace"))
        self._tail = (self._tail + line + b"\n")[-MAX_MESSAGE_BYTES:]

    async def _watch(self) -> None:
        """Wait for its end, and see to it where the event loop ends before: then all tasks are cancelled."""
        try:
            await commands.ended(self._process)
        except asyncio.CancelledError:
            await commands.end(self._process)
        finally:
            self._take_note()

    def _take_note(self) -> None:
        """Reap it. What it has written counts; the jobs that it has not answered have failed."""
        code = commands.reap(self._process)
        self._output.read_rest()
        self._errors.read_rest()
        self._close_input()
        how = f"{self._why or 'has ended'}, {commands.describe(code)}"
        if not self._why or self.waiting:
            logger.warning("%s %s, with %d jobs in flight", self, how, len(self.waiting))
        message = f"{self} {how}, before the outcome of the job: {commands.told(self._tail)}"
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(AttemptFailedError(message, error_type=ERROR_TYPE))
        self.waiting.clear()
        self._close()

    def __str__(self) -> str:
        return f"process {self._process.pid} ({self._name})"


def _failure(error: _Error) -> Exception:
    kind = error.type or ERROR_TYPE
    if error.retry:
        return AttemptFailedError(error.message, error_type=kind, retry_after=error.retry_after)
    return JobFailedError(error.message, error_type=kind)


class Lines:
    """Reads a pipe by lines, as they come."""

    def __init__(
        self,
        file: Any,
        on_line: Callable[[bytes], None],
        on_end: Callable[[], None] = lambda: None,
        too_long: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to read; a line that is too long is told as several."""
        self._file = file
        self._number: int = file.fileno()
        self._on_line = on_line
        self._on_end = on_end
        self._too_long = too_long
        self._rest = b""
        os.set_blocking(self._number, False)
        asyncio.get_running_loop().add_reader(self._number, self._read)

    def _read(self) -> bool:
        """Read once; returns whether there may be more."""
        if self._file.closed:
            return False
        try:
            chunk = os.read(self._number, _READ_BYTES)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        too_long = len(self._rest) > MAX_LINE_BYTES
        if self._rest and (too_long or not chunk):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line)
        if too_long:
            self._too_long()
        if not chunk:
            self.close()
            self._on_end()
        return bool(chunk)

    def read_rest(self) -> None:
        """Read what was written, but wait for nobody who might still write; then close."""
        while self._read():
            pass
        self.close()

    def close(self) -> None:
        """Read no more."""
        if not self._file.closed:
            asyncio.get_running_loop().remove_reader(self._number)
            self._file.close()
