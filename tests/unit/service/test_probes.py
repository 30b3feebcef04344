"""The server of probes and metrics, asked over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from hammerwork.service.probes import ProbeServer, ProbeThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Serving = Callable[[ProbeServer], contextlib.AbstractAsyncContextManager[int]]

SECONDS = aiohttp.ClientTimeout(total=60)


class State:
    """Why the process is not ready, and not healthy; None where it is."""

    def __init__(self) -> None:
        self.not_ready: str | None = None
        self.unhealthy: str | None = None
        self.registry = CollectorRegistry()
        self.asked_in: set[str] = set()

    def server(self, port: int = 0) -> ProbeServer:
        return ProbeServer(port, self.registry, ready=self._ready, healthy=lambda: self.unhealthy)

    def _ready(self) -> str | None:
        self.asked_in.add(threading.current_thread().name)
        return self.not_ready


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession(timeout=SECONDS) as session, session.get(f"http://127.0.0.1:{port}{path}") as got:
        return got.status, await got.text()


@contextlib.asynccontextmanager
async def on_this_loop(server: ProbeServer) -> AsyncIterator[int]:
    try:
        yield await server.start()
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def in_a_thread(server: ProbeServer) -> AsyncIterator[int]:
    thread = ProbeThread(server)
    try:
        yield thread.start()
    finally:
        thread.stop()


SERVED = pytest.mark.parametrize("served", [on_this_loop, in_a_thread])


@SERVED
async def test_probes_tell_why_they_fail_and_metrics_are_those_of_the_registry(
    served: Serving,
) -> None:
    state = State()
    counter = Counter("things", "Things.", registry=state.registry)
    async with served(state.server()) as port:
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (200, "ok\n")
        state.not_ready, state.unhealthy = "no database", "stuck"
        assert await get(port, "/healthz") == (503, "stuck\n")
        assert await get(port, "/readyz") == (503, "no database\n")
        counter.inc(3)
        status, text = await get(port, "/metrics")
        assert status == 200
        assert "things_total 3.0" in text.splitlines()
        assert (await get(port, "/"))[0] == 404


@SERVED
async def test_a_port_that_is_taken_is_an_error_and_a_port_is_free_after_stop(
    served: Serving,
) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            async with served(State().server(port)):
                pass
    async with served(State().server(port)):
        pass
    async with served(State().server(port)) as again:
        assert again == port


async def test_a_server_answers_from_the_loop_that_started_it() -> None:
    state = State()
    async with on_this_loop(state.server()) as port:
        await get(port, "/readyz")
    assert state.asked_in == {threading.current_thread().name}


async def test_a_thread_answers_while_this_loop_is_held() -> None:
    async with in_a_thread(State().server()) as port:
        answer: list[tuple[int, str]] = []
        asking = threading.Thread(target=lambda: answer.append(asyncio.run(get(port, "/healthz"))))
        asking.start()
        asking.join(60)  # holds the loop that runs this test
        assert answer == [(200, "ok\n")]


def test_what_was_never_started_can_be_stopped() -> None:
    thread = ProbeThread(State().server())
    thread.stop()
    asyncio.run(State().server().stop())
