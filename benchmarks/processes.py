"""Runs measured programs. They print lines of JSON, say ``ready`` before they wait for a line, and exit with 0."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

DEADLINE_SECONDS = 300.0
_LONGEST_LINE = 64 * 1024 * 1024


class ProgramError(Exception):
    """A measured program failed, took too long, or did not do all of its work."""


class Program:
    """A running program."""

    def __init__(self, command: Sequence[str], process: asyncio.subprocess.Process) -> None:
        self._command = " ".join(command)
        self._process = process

    async def ready(self) -> None:
        """Return once the program has said that it is ready."""
        line = await self._line()
        if line != b"ready\n":
            raise ProgramError(f"{self._command}: said {line!r} instead of 'ready'")

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> dict[str, Any]:
        """Return the object that the program prints, once it has ended well."""
        line = await self._line()
        await self.end()
        return msgspec.json.decode(line, type=dict[str, Any])

    async def end(self) -> None:
        """Return once the program has ended well."""
        async with self._deadline("end"):
            status = await self._process.wait()
        if status != 0:
            raise ProgramError(f"{self._command}: ended with {status}")

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        async with self._deadline("print a line"):
            line = await self._process.stdout.readline()
        if not line:
            raise ProgramError(f"{self._command}: ended with {await self._process.wait()} before its line")
        return line

    @contextlib.asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                yield
        except TimeoutError as error:
            raise ProgramError(f"{self._command}: did not {what} within {DEADLINE_SECONDS:g} s") from error


@contextlib.asynccontextmanager
async def running(command: Sequence[str], *, cwd: Path | None = None) -> AsyncIterator[Program]:
    """Run a program for the duration of a block; it is killed if it has not ended by then."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE
    )
    try:
        yield Program(command, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def our_program(name: str, *arguments: object) -> list[str]:
    """Return the command of a program in `benchmarks.programs`."""
    return [sys.executable, "-m", f"benchmarks.programs.{name}", *(str(argument) for argument in arguments)]
