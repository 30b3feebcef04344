"""Programs of ours that a test starts, tells what to do in one line of JSON, and may kill at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tests.harness.waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

T = TypeVar("T")


@contextlib.asynccontextmanager
async def started(module: str, order: object, *, log: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module, in a session of its own, for the duration of a block; it is killed if it has not ended by then.

    Its standard input stays open after the order: the end of it tells the program that this process is gone. What it
    prints goes to `log`, if there is one, or else to the pipe `stdout`.
    """
    with contextlib.ExitStack() as files:
        output = files.enter_context(log.open("ab")) if log is not None else None
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if output is None else output,
            stderr=output,
            start_new_session=True,
        )
    try:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            await process.stdin.drain()
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.communicate()


async def next_line(process: asyncio.subprocess.Process, *, within: float = DEADLINE_SECONDS) -> str:
    """Return what a program prints next, without the end of the line; nothing if it ends."""
    assert process.stdout is not None
    async with asyncio.timeout(within):
        return (await process.stdout.readline()).decode().rstrip("\n")


def told(kind: type[T]) -> T:
    """Return the order of this process."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)
