"""Measured programs are watched; the wire between them and a server can be listened to."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.memory import forget_peak, peak_resident_bytes, resident_bytes
from benchmarks.peers.installing import Installation, NotInstallableError
from benchmarks.processes import ProgramError, running
from tests.harness.proxy import proxy


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_program_waits_for_its_line_and_answers() -> None:
    code = "print('ready', flush=True); told = input(); print('{\"told\": \"%s\"}' % told)"
    async with running(program(code)) as one:
        await one.ready()
        one.tell("go")
        assert await one.answer() == {"told": "go"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{}'); raise SystemExit(3)", "ended with 3"),
        ("raise SystemExit(4)", "ended with 4 before its line"),
    ],
)
async def test_a_program_that_fails_is_an_error(code: str, message: str) -> None:
    async with running(program(code)) as one:
        with pytest.raises(ProgramError, match=message):
            await one.answer()


async def test_a_program_that_says_something_else_is_not_ready() -> None:
    async with running(program("print('hello')")) as one:
        with pytest.raises(ProgramError, match="said b'hello"):
            await one.ready()


async def test_a_program_that_still_runs_is_killed() -> None:
    async with running(program("import os; print(os.getpid(), flush=True); input()")) as one:
        pid = int(await one._line())
        assert is_there(pid)
    assert not is_there(pid)


async def test_round_trips_are_turns_of_the_client_over_all_connections() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy(f"postgresql://me@127.0.0.1:{port}/db?a=b") as (relay, url):
        address, _, rest = url.partition("/db")
        assert (address.rpartition(":")[0], rest) == ("postgresql://me@127.0.0.1", "?a=b")
        for connections in (1, 2):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            for number in range(5):
                # The second piece is sent before the server has spoken: no further round trip.
                writer.write(b"one")
                await writer.drain()
                writer.write(f" {number}\n".encode())
                assert await reader.readline() == f"one {number}\n".encode()
            assert relay.bursts == 5 * connections
            writer.close()
            await writer.wait_closed()


def test_the_peak_of_memory_can_be_forgotten() -> None:
    block = bytearray(64 * 1024**2)
    block[::4096] = b"x" * len(block[::4096])
    with_block = peak_resident_bytes()
    del block
    forget_peak()
    assert peak_resident_bytes() < with_block
    assert resident_bytes() <= peak_resident_bytes()


def test_a_missing_tool_leaves_the_peer_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstallableError, match="npm is not installed"):
        Installation("pg-boss", "node").install()
